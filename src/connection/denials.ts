/** Counts what rules deny, and tells of it at level warn at most once a second, however many clients try. One per node. */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { DenialCounters } from '../counters.ts';

const LINE_MILLISECONDS = 1_000;

export class Denials {
  readonly #counters: DenialCounters;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Since the last line. */
  #count = 0;
  /** Nothing is said until a second after the last line. */
  #isQuiet = false;

  constructor(counters: DenialCounters, clock: Clock, log: Logger) {
    this.#counters = counters;
    this.#clock = clock;
    this.#log = log;
  }

  /** `clientId`: undefined before CONNACK. */
  count(action: keyof DenialCounters, clientId: string | undefined): void {
    this.#counters[action]++;
    this.#count++;
    if (!this.#isQuiet) this.#tell(action, clientId);
  }

  /** Names the last one; the others are a number. */
  #tell(action: keyof DenialCounters, clientId: string | undefined): void {
    const fields = { event: 'acl.denied', count: this.#count, action, clientId };
    this.#log.warn(fields, 'The rules have denied something to clients; level debug has each case');
    this.#count = 0;
    this.#isQuiet = true;
    this.#clock.after(LINE_MILLISECONDS, () => {
      this.#isQuiet = false;
      if (this.#count > 0) this.#tell(action, clientId);
    });
  }
}
