/**
 * A session record meets a log that may not be the one it was written for: made anew, set back to an earlier state, or without the oldest
 * messages. opening.ts calls it before a session is restored; afterwards every subscription stands at a position of this log.
 */
import type { LogState, MessageLog } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import type { SessionRecord } from './record.ts';

/** Before a log is believed to have been set back. */
const SECOND_LOOK_MILLISECONDS = 2_000;

/** A log that seems to have been set back is asked again: one answer of a server that is behind must not undo positions. */
export async function stateFor(log: MessageLog, previous: SessionRecord | undefined): Promise<LogState> {
  const state = await log.state();
  const highest = Math.max(0, ...(previous?.subscriptions.flatMap(({ positions }) => positions) ?? []));
  if (previous === undefined || previous.log !== state.identity || highest <= state.last || state.isOnlyCopy)
    return state;
  await new Promise((resolve) => setTimeout(resolve, SECOND_LOOK_MILLISECONDS));
  return log.state();
}

/** Positions of another log, or beyond the end of a log that was set back, mean nothing: the session starts where that log does. */
export function fitRecord(record: SessionRecord, state: LogState, counters: Counters): SessionRecord {
  const isOther = record.log !== state.identity;
  const lowest = Math.min(...record.subscriptions.flatMap(({ positions }) => positions), Number.POSITIVE_INFINITY);
  const isSetBack = record.subscriptions.some(({ positions }) => positions.some((position) => position > state.last));
  if (!isOther && !isSetBack) {
    if (state.first > lowest + 1) counters.sessionsTruncated++;
    return record;
  }
  counters.sessionsReset++;
  const clamp = (position: number): number => (isOther ? 0 : Math.min(position, state.last));
  return {
    ...record,
    subscriptions: record.subscriptions.map((subscription) => ({
      ...subscription,
      start: clamp(subscription.start),
      positions: subscription.positions.map(clamp),
    })),
    // PUBREL is still owed; what it released is no message of this log.
    outbound: record.outbound.filter(
      ({ sequence, state: delivery }) => delivery === 'released' || (!isOther && sequence <= state.last),
    ),
    done: isOther ? [] : record.done.filter((sequence) => sequence <= state.last),
  };
}
