/** What happens to a client that publishes faster than it may: it is not read for a while. */
import type { CancelTimer } from '../clock.ts';
import type { Connection } from './connection.ts';
import { PauseReason } from './pause-reason.ts';
import type { PublishRate } from './publish-rate.ts';

/** Packets wait where they are, in the framer and in the socket, until the client may go on. Undefined: no limit is used up. */
export function pauseForRate(connection: Connection, rate: PublishRate): CancelTimer | undefined {
  const { clock, counters } = connection.node;
  const { spent } = rate;
  if (spent === undefined) return undefined;
  counters.limited[spent]++;
  connection.pauseReading(PauseReason.rate);
  return clock.after(rate.pauseFor(), () => {
    rate.received(0, clock.now());
    connection.catchUp(PauseReason.rate);
  });
}
