/**
 * What NATS does not let this node subscribe to for its clients. The server judges each SUB when it comes and says a refusal before it
 * answers the PING behind it, so a flush is all that a SUBACK has to wait for. A verdict stands for all that hold the subscription; it is
 * looked into anew whenever somebody asks NATS again, and lifted when a flush behind that brings no refusal. When a connection has more
 * subscriptions than the server allows it does not say which one it means: all that no flush has confirmed yet are refused then, rather one too
 * many than one too few. One for the connection of messages, used by bus.ts and log.ts.
 */
import type { Logger } from 'pino';
import type { SubscriptionRefusal } from '../broker/ports.ts';
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

/** Of one that is held. */
interface Verdict {
  readonly refusal: SubscriptionRefusal;
  /** Which question NATS was asked for it last, counting all of them. */
  asked: number;
}

interface Unconfirmed {
  /** The number of the question. */
  readonly asked: number;
  /** Of those that hold it, how many the question is about. */
  readonly holders: number;
}

export class RefusedSubscriptions {
  readonly #options: RefusedSubscriptionsOptions;
  /** Subscriptions that there are, by key. */
  readonly #held = new Map<string, number>();
  readonly #verdicts = new Map<string, Verdict>();
  /** What NATS was asked for with no flush behind it yet, in that order. */
  readonly #unconfirmed = new Map<string, Unconfirmed>();
  /** Refused ones that NATS was asked for again. */
  readonly #pending = new Set<string>();
  #questions = 0;
  readonly #forbiddenLine: PacedLine;
  readonly #tooManyLine: PacedLine;

  /**
   * Called with keys that are not refused any more. NATS judges each subscription by itself: others of the same key that it has refused
   * before are none until it is asked for them again, with a flush behind.
   */
  lifted: (keys: ReadonlySet<string>) => void = () => {};

  constructor(options: RefusedSubscriptionsOptions) {
    this.#options = options;
    this.#forbiddenLine = new PacedLine(options.clock);
    this.#tooManyLine = new PacedLine(options.clock);
  }

  /** No subject has a space. */
  static keyOf(subject: string, queue: string | undefined): string {
    return queue === undefined ? subject : `${subject} ${queue}`;
  }

  /** NATS is asked for this one. */
  hold(key: string): void {
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    this.askAgain(key);
  }

  /** NATS is asked once more, by one that holds it. */
  askAgain(key: string): void {
    const holders = (this.#unconfirmed.get(key)?.holders ?? 0) + 1;
    this.#ask(key, Math.min(holders, this.#held.get(key) ?? 0));
  }

  #ask(key: string, holders: number): void {
    const asked = ++this.#questions;
    this.#unconfirmed.delete(key);
    this.#unconfirmed.set(key, { asked, holders });
    const verdict = this.#verdicts.get(key);
    if (verdict === undefined) return;
    verdict.asked = asked;
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
    this.#unconfirmed.delete(key);
  }

  /** Nothing is refused: the usual case. */
  get isEmpty(): boolean {
    return this.#verdicts.size === 0;
  }

  /** Undefined: it is not refused. */
  refusalOf(key: string): SubscriptionRefusal | undefined {
    return this.#verdicts.get(key)?.refusal;
  }

  /** NATS has said so; false for what is the node's own. What is not held any more is only told of: its client was faster than NATS. */
  refused({ queue, subject }: RefusedSubscription): boolean {
    const key = RefusedSubscriptions.keyOf(subject, queue);
    if (subject.startsWith(`${this.#options.inboxPrefix}.`)) return false;
    if (this.#held.has(key)) this.#refuse(key, 'forbidden');
    this.#options.counters.busSubscriptionsRefused++;
    this.#forbiddenLine.tell((count) =>
      this.#options.log.warn(
        {
          event: 'nats.subscriptionRefused',
          subject: subject.slice(0, SHOWN_CHARACTERS),
          queue: queue?.slice(0, SHOWN_CHARACTERS),
          count,
        },
        'NATS does not let this node subscribe to what clients ask for: the permissions of its user are too narrow',
      ),
    );
    return true;
  }

  /** The connection has as many subscriptions as the server allows it; one of those that it was asked for last is not among them. */
  exceeded(): void {
    for (const [key, { holders }] of this.#unconfirmed) {
      // One that others have without a verdict is heard: `a` beside a refused `a/#`. In a queue group each is on his own.
      const isHeard = holders < (this.#held.get(key) ?? 0) && !this.#verdicts.has(key) && !isQueueKey(key);
      if (!isHeard) this.#refuse(key, 'tooMany');
    }
    // Those refused keep their verdict until NATS is asked again: the next such line is about others.
    this.#unconfirmed.clear();
    this.#options.counters.busSubscriptionsRefused++;
    this.#tooManyLine.tell((count) =>
      this.#options.log.warn(
        { event: 'nats.tooManySubscriptions', count },
        'NATS allows the connection of this node no more subscriptions: raise max_subscriptions of the server, or the limit of the account',
      ),
    );
  }

  /** The library asks for all of them again on the next connection; a flush has to follow there. */
  disconnected(): void {
    for (const [key, holders] of this.#held) this.#ask(key, holders);
  }

  /** A flush begins; call what is returned when it has come back. */
  judging(): () => void {
    const begun = this.#questions;
    return () => {
      const lifted = new Set<string>();
      for (const [key, { asked }] of this.#unconfirmed) {
        if (asked > begun) break;
        this.#unconfirmed.delete(key);
      }
      for (const key of this.#pending) {
        if ((this.#verdicts.get(key)?.asked ?? 0) > begun) continue;
        this.#pending.delete(key);
        this.#verdicts.delete(key);
        lifted.add(key);
      }
      if (lifted.size === 0) return;
      for (const key of lifted) this.#ask(key, this.#held.get(key) ?? 0);
      this.lifted(lifted);
    };
  }

  #refuse(key: string, refusal: SubscriptionRefusal): void {
    this.#verdicts.set(key, { refusal, asked: this.#questions });
    this.#pending.delete(key);
  }
}

function isQueueKey(key: string): boolean {
  return key.includes(' ');
}

/** One line a second: what clients ask for is their choice. */
class PacedLine {
  readonly #clock: Clock;
  /** Since the last line. */
  #untold = 0;
  #quietUntil = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  tell(write: (count: number) => void): void {
    this.#untold++;
    const now = this.#clock.now();
    if (now < this.#quietUntil) return;
    write(this.#untold);
    this.#untold = 0;
    this.#quietUntil = now + LINE_MILLISECONDS;
  }
}
