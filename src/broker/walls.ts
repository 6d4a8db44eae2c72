/**
 * The first level decides: what starts with `$`, and `_INBOX`, belongs to NATS and to the server itself. A client that could
 * name these would reach the JetStream API, KV values and other people's replies.
 */
import { firstLevel } from '../mqtt/topic.ts';

export function isPublishAllowed(topic: string): boolean {
  return !topic.startsWith('$') && firstLevel(topic) !== '_INBOX';
}

/** `filter` is without its group. `$SYS` may be read. */
export function isSubscribeAllowed(filter: string): boolean {
  return firstLevel(filter) === '$SYS' || isPublishAllowed(filter);
}
