/**
 * Where a session's packets for its client go: the contract between session/ and the connection of the moment. connection/sender.ts
 * implements it. No call waits: `hasRoom` tells the session when to hold back.
 */
export interface Outlet {
  /** MQTT 5 packets carry properties. */
  readonly hasProperties: boolean;
  /** Bytes; Infinity when the client stated none. */
  readonly maximumPacketSize: number;
  /** Names the client on its own messages. */
  readonly origin: string;
  /** Little enough waits for the client that more may be added. */
  readonly hasRoom: boolean;
  /** Takes one PUBLISH of QoS 0, or drops and counts it. */
  deliver(packet: Buffer, count: number): void;
  /** Takes a packet that must not be dropped. */
  deliverAcknowledged(packet: Buffer): void;
  /** Takes an acknowledgement; `text` says why it is a refusal. */
  send(packet: Buffer, text?: string): void;
}
