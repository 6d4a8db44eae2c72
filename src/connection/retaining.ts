/**
 * Messages of QoS 0 with RETAIN: through the log like the others, which decides which of two is the later one, but nobody is told. A client
 * that publishes faster than they are stored is not read meanwhile; a SUBSCRIBE of the same client waits for those before it.
 */
import type { LogOutcome, LogPublish, Route } from '../broker/ports.ts';
import type { Extras } from '../message.ts';
import type { Connection } from './connection.ts';
import { PauseReason } from './pause-reason.ts';

/** Messages, and bytes, under way for one client; beyond, it is not read. */
const MAXIMUM = 100;
const MAXIMUM_BYTES = 1024 * 1024;

/** A message; payload and properties are copies. */
export interface RetainedPublish {
  readonly route: Route;
  readonly payload: Buffer;
  readonly extras: Extras;
  readonly expirySeconds: number | undefined;
}

export class Retaining {
  readonly #connection: Connection;
  #count = 0;
  #bytes = 0;
  #isPaused = false;
  #waiting: Array<() => void> = [];

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  take(publish: RetainedPublish): void {
    const { counters, sessions } = this.#connection.node;
    counters.messagesReceived++;
    const message: LogPublish = {
      ...publish,
      qos: 0,
      messageId: '',
      settled: (outcome, sequence) => this.#settled(message, outcome, sequence),
    };
    this.#count++;
    this.#bytes += publish.payload.length;
    if (!this.#isPaused && (this.#count >= MAXIMUM || this.#bytes >= MAXIMUM_BYTES)) {
      this.#isPaused = true;
      this.#connection.pauseReading(PauseReason.retaining);
    }
    sessions?.log.publish(message);
  }

  /** Resolves when everything that was taken so far is in its place, or refused. */
  settled(): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #settled(message: LogPublish, outcome: LogOutcome, sequence: number): void {
    const { counters, publisher } = this.#connection.node;
    if (outcome === 'stored') {
      counters.logStored++;
      publisher.stored(message, sequence, () => this.#finished(message));
      return;
    }
    // At most once, and not retained: those who are subscribed get it all the same.
    counters.logRefused++;
    publisher.publishAnyway(message);
    this.#finished(message);
  }

  #finished({ payload }: LogPublish): void {
    this.#count--;
    this.#bytes -= payload.length;
    if (this.#isPaused && this.#count <= MAXIMUM / 2 && this.#bytes <= MAXIMUM_BYTES / 2) {
      this.#isPaused = false;
      if (!this.#connection.isClosed) this.#connection.resumeReading(PauseReason.retaining);
    }
    if (this.#count === 0) for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
