/** Connections whose time is over: a client that is silent for too long, credentials that have ended. connections.ts looks for them. */
import { MqttError, Reason } from '../mqtt/reason.ts';
import { noteBadEnd } from './breach.ts';
import type { Connection } from './connection.ts';

/** Nothing has come for longer than the client has stated; before CONNACK, than it may take. */
export function endSilent(connection: Connection): void {
  const { counters } = connection.node;
  if (connection.state === 'accepting') {
    if (connection.awaits === undefined) return connection.authentication?.timeOut();
    const text = {
      identity: 'authentication has taken too long',
      cluster: 'who had the client before, or the backplane, has not answered in time',
    };
    return connection.fail(new MqttError(Reason.serverUnavailable, text[connection.awaits]));
  }
  const hasConnected = connection.state !== 'connecting';
  counters.keepAliveTimeouts++;
  if (!hasConnected) {
    counters.limited.connectTimeoutSeconds++;
    noteBadEnd(connection);
  }
  connection.debug('timedOut', 'No packet within the time that the client stated');
  // To one that has not sent CONNECT there is nothing to say, and it is given no time to let go.
  if (!hasConnected) return connection.drop();
  connection.close(Reason.keepAliveTimeout);
}

/** The client has not renewed its credentials in time. */
export function endExpired(connection: Connection): void {
  connection.node.counters.credentialsExpired++;
  connection.debug('expired', 'The credentials of the client have expired');
  connection.refuse(new MqttError(Reason.notAuthorized, 'the credentials have expired'));
}
