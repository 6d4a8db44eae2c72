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

export interface RefusedSubscriptionsOptions {
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
  /** First token of the node's own inboxes, whose subscriptions are the node's and no client's. */
  readonly inboxPrefix: string;
}

export class RefusedSubscriptions {
  readonly #options: RefusedSubscriptionsOptions;
  /** Subscriptions that there are, by key. */
  readonly #held = new Map<string, number>();
  /** Of those that are held: which question NATS was asked last, counting all of them. */
  readonly #verdicts = new Map<string, number>();
  /** Refused ones that NATS was asked for again. */
  readonly #pending = new Set<string>();
  #questions = 0;
  /** Refusals since the last line. */
  #untold = 0;
  #quietUntil = Number.NEGATIVE_INFINITY;

  /**
   * Called with keys that are not refused any more. NATS judges each subscription by itself: others of the same key that it has refused
   * before are none until it is asked for them again.
   */
  lifted: (keys: ReadonlySet<string>) => void = () => {};

  constructor(options: RefusedSubscriptionsOptions) {
    this.#options = options;
  }

  static keyOf(subject: string, queue: string | undefined): string {
    return queue === undefined ? subject : `${subject} ${queue}`;
  }

  /** NATS is asked for this one. */
  hold(key: string): void {
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    this.askAgain(key);
  }

  /** NATS is asked, perhaps once more, for one that is held. */
  askAgain(key: string): void {
    if (!this.#verdicts.has(key)) return;
    this.#verdicts.set(key, ++this.#questions);
    this.#pending.add(key);
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

  /** NATS has said so; false for what is the node's own. What is not held any more is only told of: its client was faster than NATS. */
  refused({ queue, subject }: RefusedSubscription): boolean {
    const key = RefusedSubscriptions.keyOf(subject, queue);
    if (subject.startsWith(`${this.#options.inboxPrefix}.`)) return false;
    if (this.#held.has(key)) {
      this.#verdicts.set(key, this.#questions);
      this.#pending.delete(key);
    }
    this.#options.counters.busSubscriptionsRefused++;
    this.#tell(subject, queue);
    return true;
  }

  /** The library asks for all of them again on the next connection. */
  disconnected(): void {
    for (const key of this.#verdicts.keys()) this.askAgain(key);
  }

  /** A flush begins; call what is returned when it has come back. */
  judging(): () => void {
    const begun = this.#questions;
    return () => {
      const lifted = new Set<string>();
      for (const key of this.#pending) {
        if ((this.#verdicts.get(key) ?? 0) > begun) continue;
        this.#pending.delete(key);
        this.#verdicts.delete(key);
        lifted.add(key);
      }
      if (lifted.size > 0) this.lifted(lifted);
    };
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
