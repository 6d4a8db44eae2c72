/** Whose fault the end of a connection is: what its client has done wrong is counted, by limit and for the jail; defects of ours are reported. */
import { MqttError, Reason, type ReasonCode } from '../mqtt/reason.ts';
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

/** Something was thrown while a packet was handled. Returns what the client is told of it; undefined: nothing, for the defect is ours. */
export function noteFailure(connection: Connection, error: unknown): MqttError | undefined {
  const { counters } = connection.node;
  if (error instanceof MqttError) {
    const { reason } = error;
    const isBreach = !notTheClients.has(reason);
    if (isBreach) counters.protocolErrors++;
    noteRefusal(connection, reason, isBreach);
    connection.debug('failed', isBreach ? 'The client broke a rule' : 'The client cannot be served', {
      reason,
      err: error,
    });
    return error;
  }
  counters.internalErrors++;
  connection.log.error({ event: 'connection.bug', err: error }, 'A packet could not be handled; this is a defect');
  return undefined;
}

function noteRefusal(connection: Connection, reason: ReasonCode, isBreach: boolean): void {
  const { limited } = connection.node.counters;
  if (connection.framer.hasRefused) limited[connection.state === 'connecting' ? 'maxConnectBytes' : 'maxPacketBytes']++;
  if (reason === Reason.receiveMaximumExceeded) limited.receiveMaximum++;
  if (isBreach) noteBadEnd(connection);
}

/** The connection has ended as those of attackers do; what the client has not been told the reason of included. */
export function noteBadEnd({ countedAs, node }: Connection): void {
  if (countedAs !== '') node.admission.jail?.failed(countedAs);
}
