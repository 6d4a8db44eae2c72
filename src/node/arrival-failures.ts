/** Network connections that were closed before they came to speak MQTT: counted by cause, and told to the log at most once a second. listeners.ts uses it. */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import type { ArrivalFailure } from '../transport/arrivals.ts';

const LINE_MILLISECONDS = 1_000;

/** Takes each of them. */
export function tellArrivalFailures(log: Logger, counters: Counters, clock: Clock): (failure: ArrivalFailure) => void {
  let quietUntil = Number.NEGATIVE_INFINITY;
  let untold = 0;
  return (failure) => {
    const { address, cause, detail, listener } = failure;
    counters.arrivalsFailed[cause]++;
    // Port scans and health checks of balancers: the peer knows why it went.
    if (cause === 'left') return;
    const now = clock.now();
    if (now < quietUntil) {
      untold++;
      return;
    }
    const fields = { cause, detail, peer: { address, listener }, untold };
    log.info(
      { event: 'listener.arrivalFailed', ...fields },
      'A network connection was closed before it came to speak MQTT',
    );
    quietUntil = now + LINE_MILLISECONDS;
    untold = 0;
  };
}
