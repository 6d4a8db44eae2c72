/**
 * The first level decides: what starts with `$`, and `_INBOX`, belongs to NATS and to the server itself. A client that could
 * name these would reach the JetStream API, KV values and other people's replies. Wildcards are kept out by the bus.
 */
import { firstLevel } from '../mqtt/topic.ts';

/** Whether clients may publish to a well-formed topic name. */
export function isPublishAllowed(topic: string): boolean {
  return !topic.startsWith('$') && firstLevel(topic) !== '_INBOX';
}

/** Whether clients may subscribe to a well-formed filter, given without its group. `$SYS` may be read. */
export function isSubscribeAllowed(filter: string): boolean {
  return firstLevel(filter) === '$SYS' || isPublishAllowed(filter);
}
