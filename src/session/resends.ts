/** What an earlier connection left open: sent again with its packet ids, in its order, before anything new. [MQTT5 4.6.0-1] [MQTT311 4.6.0-1] */
import type { LogRecord } from '../broker/ports.ts';
import type { Delivery, Outbound } from './outbound.ts';

/** Messages that are read from the log at once. */
const AT_ONCE = 16;

export interface ResendsOptions {
  readonly outbound: Outbound;
  readonly isClosed: () => boolean;
  /** Its message; undefined = the log has it no more, or PUBREL is owed. */
  readonly read: (delivery: Delivery) => Promise<LogRecord | undefined>;
  /** `record`: undefined = the log has it no more, or PUBREL is owed. */
  readonly send: (delivery: Delivery, record: LogRecord | undefined) => void;
  /** All of them are with the client. */
  readonly done: () => void;
}

export class Resends {
  readonly #options: ResendsOptions;
  #waiting: Delivery[] = [];
  #isRunning = false;

  constructor(options: ResendsOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  add(delivery: Delivery): void {
    this.#waiting.push(delivery);
  }

  /** Goes on as far as the window of this connection lets it. */
  pump(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#sendAll()
      .catch(() => {
        // The log does not answer: the session's tick tries again.
      })
      .finally(() => {
        this.#isRunning = false;
        if (this.isEmpty) this.#options.done();
      });
  }

  async #sendAll(): Promise<void> {
    const { isClosed, outbound, read, send } = this.#options;
    while (this.#waiting.length > 0 && !isClosed()) {
      const room = outbound.capacity - (outbound.inFlight - this.#waiting.length);
      // A window smaller than before: what is left of PUBLISH follows as these are acknowledged, PUBREL waits for nothing. [MQTT5 3.3.4-10]
      const batch = room > 0 ? this.#waiting.slice(0, Math.min(AT_ONCE, room)) : this.#waiting.filter(owesPubrel);
      if (batch.length === 0) return;
      const records = await Promise.all(batch.map(read));
      if (isClosed()) return;
      const sent = new Set(batch);
      this.#waiting = this.#waiting.filter((delivery) => !sent.has(delivery));
      for (const [index, delivery] of batch.entries()) send(delivery, records[index]);
    }
  }
}

function owesPubrel({ state }: Delivery): boolean {
  return state === 'released';
}
