/** Whose fault the end of a connection is: what its client has done wrong is counted, by limit and for the jail. */
import { Reason, type ReasonCode } from '../mqtt/reason.ts';
import type { Connection } from './connection.ts';

/** Said for reasons of ours: the client may have done everything right. */
const notTheClients: ReadonlySet<ReasonCode> = new Set([
  Reason.unspecifiedError,
  Reason.implementationSpecificError,
  Reason.serverUnavailable,
  Reason.serverBusy,
  Reason.serverShuttingDown,
  Reason.quotaExceeded,
  Reason.useAnotherServer,
  Reason.serverMoved,
  Reason.connectionRateExceeded,
]);

/** The client has broken a rule, or is refused. */
export function noteBreach(connection: Connection, reason: ReasonCode): void {
  const { limited } = connection.node.counters;
  if (connection.framer.hasRefused) limited[connection.state === 'connecting' ? 'maxConnectBytes' : 'maxPacketBytes']++;
  if (reason === Reason.receiveMaximumExceeded) limited.receiveMaximum++;
  if (!notTheClients.has(reason)) noteBadEnd(connection);
}

/** The connection has ended as those of attackers do; what the client has not been told the reason of included. */
export function noteBadEnd({ countedAs, node }: Connection): void {
  if (countedAs !== '') node.admission.jail?.failed(countedAs);
}
