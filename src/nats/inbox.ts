/**
 * Inboxes under the prefix that the node is configured with: NATS permissions can then give each user its own, and nobody else hears the
 * answers to a node.
 */
import { createInbox, type NatsConnection } from 'nats';

/** A new subject for answers on this connection. */
export function newInbox(connection: NatsConnection): string {
  const { options } = connection as NatsConnection & { options?: { inboxPrefix?: string } }; // the library's own functions read it there
  return createInbox(options?.inboxPrefix);
}
