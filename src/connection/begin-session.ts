/** The session of a client that CONNECT has brought none for, made when there is something to remember. */
import type { ClientSubscriptions } from '../broker/client-subscriptions.ts';
import type { Session } from '../session/session.ts';
import type { Connection } from './connection.ts';

/** It ends with the connection. */
export function beginSession(connection: Connection): Session {
  const { client, node, sender } = connection;
  if (node.sessions === undefined || client === undefined) throw new Error('no sessions without a log');
  return node.sessions.begin({
    clientId: client.id,
    user: connection.user,
    version: client.version,
    cleanStart: true,
    expirySeconds: 0,
    hasWill: false,
    receiveMaximum: client.receiveMaximum,
    outlet: sender,
    fenced: () => connection.fenced(),
    retainedRead: (text) => connection.subscriptions.note(text, undefined),
    isGone: () => connection.isClosed,
  });
}

/** What was subscribed before the session was made, with QoS 0. */
export function carryOver(subscriptions: ClientSubscriptions | undefined, session: Session): void {
  for (const { filter, group, identifier, noLocal, retainAsPublished, text } of subscriptions?.all() ?? []) {
    const options = { identifier, noLocal, qos: 0 as const, retainAsPublished, retainHandling: 0 as const };
    session.subscribe(text, { filter, group }, options);
  }
}
