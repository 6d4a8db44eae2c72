/** What an earlier connection left open: sent again with its packet ids, in its order, before anything new. [MQTT5 4.6.0-1] [MQTT311 4.6.0-1] */
import type { LogRecord } from '../broker/ports.ts';
import type { Gate } from './gate.ts';
import type { Delivery, Outbound } from './outbound.ts';

/** Messages that are read from the log at once. */
const AT_ONCE = 16;

export interface ResendsOptions {
  readonly outbound: Outbound;
  readonly gate: Gate;
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
    const { gate, outbound, read, send } = this.#options;
    while (this.#waiting.length > 0 && !gate.isClosed) {
      const underWay = outbound.inFlight - this.#waiting.length;
      const batch = this.#waiting.slice(0, Math.min(AT_ONCE, outbound.capacity - underWay));
      // A window smaller than before: the rest follows as these are acknowledged.
      if (batch.length === 0) return;
      const records = await Promise.all(batch.map(read));
      if (gate.isClosed) return;
      this.#waiting.splice(0, batch.length);
      for (const [index, delivery] of batch.entries()) send(delivery, records[index]);
    }
  }
}
