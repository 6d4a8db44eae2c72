/** Who is at the other end of a connection, and how the nodes call it among themselves. */
import { hash } from 'node:crypto';
import type { Claim } from '../broker/ports.ts';
import type { ProtocolVersion } from '../mqtt/packet.ts';

/** What is known once CONNECT was accepted. */
export interface Client {
  readonly id: string;
  readonly version: ProtocolVersion;
  /** Session Expiry Interval that CONNECT asked for, in seconds. */
  readonly requestedExpirySeconds: number;
  readonly claim: Claim;
  /** Receive Maximum of the client. */
  readonly receiveMaximum: number;
}

/** Names a client on its messages without telling its id: 96 bits of a hash. */
export function originOf(clientId: string): string {
  return hash('sha256', clientId, 'base64url').slice(0, 16);
}
