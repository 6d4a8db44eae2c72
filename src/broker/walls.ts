/**
 * The first level decides: what starts with `$`, `_INBOX`, and the first level of the node's own inboxes belong to NATS and to the server
 * itself. A client that could name these would reach the JetStream API, KV values and other people's replies. Wildcards are kept
 * out by the bus.
 */
import { firstLevel } from '../mqtt/topic.ts';

/** First level of everybody's inboxes, unless configured otherwise. */
export const DEFAULT_INBOX = '_INBOX';

/** Whether clients may publish to a well-formed topic name. `ownInbox`: first level of the node's own inboxes. */
export function isPublishAllowed(topic: string, ownInbox = DEFAULT_INBOX): boolean {
  if (topic.startsWith('$')) return false;
  const first = firstLevel(topic);
  return first !== DEFAULT_INBOX && first !== ownInbox;
}

/** Whether clients may subscribe to a well-formed filter, given without its group. `$SYS` may be read. */
export function isSubscribeAllowed(filter: string, ownInbox = DEFAULT_INBOX): boolean {
  return firstLevel(filter) === '$SYS' || isPublishAllowed(filter, ownInbox);
}
