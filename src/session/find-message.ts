/** Whether the log has a message of a QoS 2 packet that an earlier node had in hand. Used by connection/intake.ts. */
import type { MessageLog } from '../broker/ports.ts';
import type { InboundRecord } from './record.ts';

/** The log recognises a message id for this long at least (its duplicate window): half of it, for all that is slow. */
const CERTAIN_MILLISECONDS = 60_000;
const PAGE_MESSAGES = 256;

/**
 * Its position; 0 when it is not there, and when the log itself will recognise the id. Older packets are looked for on their topic, from the position at which
 * they came; the end is the leader's word.
 */
export async function findMessage(log: MessageLog, topic: string, packet: InboundRecord): Promise<number> {
  if (log.now() - packet.at < CERTAIN_MILLISECONDS) return 0;
  const [pattern] = log.patterns(topic) ?? [];
  if (pattern === undefined) return 0;
  for (let position = packet.position; ; ) {
    const page = await log.read(pattern, position, PAGE_MESSAGES);
    let { records } = page;
    if (records.length === 0 && page.upTo === position) {
      const next = await log.readNext(pattern, position);
      if (next === undefined) return 0;
      records = [next];
    }
    const found = records.find(({ messageId }) => messageId === packet.messageId);
    if (found !== undefined) return found.sequence;
    position = Math.max(page.upTo, records.at(-1)?.sequence ?? position);
  }
}
