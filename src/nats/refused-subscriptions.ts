/**
 * What NATS does not let this node subscribe to for its clients. The server judges each SUB when it comes and says a refusal before it
 * answers the PING behind it, so a flush is all that a SUBACK has to wait for. A verdict stands for all that hold the subscription; it is
 * looked into anew whenever somebody asks NATS again, and lifted when a flush behind that brings no refusal. One for the connection of messages,
 * used by bus.ts and log.ts.
 */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import type { RefusedSubscription } from './wire/refused-line.ts';

/** Between two lines. */
const LINE_MILLISECONDS = 1_000;
/** Of a subject: a client has chosen it. */
const SHOWN_CHARACTERS = 200;

interface Verdict {
  /** What NATS was asked, and what it said, counted together. */
  askedAt: number;
  refusedAt: number;
}

export interface RefusedSubscriptionsOptions {
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
}

export class RefusedSubscriptions {
  readonly #options: RefusedSubscriptionsOptions;
  /** Subscriptions that there are, by key. */
  readonly #held = new Map<string, number>();
  /** Of those that are held. */
  readonly #verdicts = new Map<string, Verdict>();
  /** Refused ones that NATS was asked for again. */
  readonly #pending = new Set<string>();
  #serial = 0;
  /** Refusals since the last line. */
  #untold = 0;
  #quietUntil = Number.NEGATIVE_INFINITY;

  constructor(options: RefusedSubscriptionsOptions) {
    this.#options = options;
  }

  static keyOf(subject: string, queue: string | undefined): string {
    return queue === undefined ? subject : `${subject} ${queue}`;
  }

  /** NATS is asked for this one. */
  hold(key: string): void {
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    this.#ask(key);
  }

  /** It is ended. */
  drop(key: string): void {
    const holders = (this.#held.get(key) ?? 0) - 1;
    if (holders > 0) {
      this.#held.set(key, holders);
      return;
    }
    this.#held.delete(key);
    this.#verdicts.delete(key);
    this.#pending.delete(key);
  }

  /** Nothing is refused: the usual case. */
  get isEmpty(): boolean {
    return this.#verdicts.size === 0;
  }

  isRefused(key: string): boolean {
    return this.#verdicts.has(key);
  }

  /** NATS has said so; false for what is none of these. */
  refused({ queue, subject }: RefusedSubscription): boolean {
    const key = RefusedSubscriptions.keyOf(subject, queue);
    if (!this.#held.has(key)) return false;
    const verdict = this.#verdicts.get(key) ?? { askedAt: 0, refusedAt: 0 };
    verdict.refusedAt = ++this.#serial;
    this.#verdicts.set(key, verdict);
    this.#pending.delete(key);
    this.#options.counters.busSubscriptionsRefused++;
    this.#tell(subject, queue);
    return true;
  }

  /** The library asks for all of them again on the next connection. */
  disconnected(): void {
    for (const key of this.#verdicts.keys()) this.#ask(key);
  }

  /** A flush begins; call what is returned when it has come back. */
  judging(): () => void {
    const begun = this.#serial;
    return () => {
      for (const key of this.#pending) {
        if ((this.#verdicts.get(key)?.askedAt ?? 0) > begun) continue;
        this.#pending.delete(key);
        this.#verdicts.delete(key);
      }
    };
  }

  #ask(key: string): void {
    const verdict = this.#verdicts.get(key);
    if (verdict === undefined) return;
    verdict.askedAt = ++this.#serial;
    this.#pending.add(key);
  }

  /** One line a second: what clients ask for is their choice. */
  #tell(subject: string, queue: string | undefined): void {
    const { clock, log } = this.#options;
    this.#untold++;
    const now = clock.now();
    if (now < this.#quietUntil) return;
    log.warn(
      {
        event: 'nats.subscriptionRefused',
        subject: subject.slice(0, SHOWN_CHARACTERS),
        queue: queue?.slice(0, SHOWN_CHARACTERS),
        count: this.#untold,
      },
      'NATS does not let this node subscribe to what clients ask for: the permissions of its user are too narrow',
    );
    this.#untold = 0;
    this.#quietUntil = now + LINE_MILLISECONDS;
  }
}
