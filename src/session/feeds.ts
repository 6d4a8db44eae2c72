/**
 * All feeds of the node, one per pattern that some session reads, and when each of them looks at the log: soon after it was
 * opened (an interest may not be known to every NATS server when SUBACK goes out), every few seconds while messages wait for proof, after
 * every sign of a gap, and now and then when the log has moved on without it.
 */
import type { LogPattern, MessageLog } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { Feed } from './feed.ts';

const SWEEP_MILLISECONDS = 1_000;
/** Between two looks of a feed that has unproven messages, and of one that has none. */
const UNPROVEN_SWEEPS = 2;
const QUIET_SWEEPS = 30;
/** Answers in a row that say that the log was set back before it is believed. */
const CONFIRMING_ANSWERS = 3;
/** Feeds that look at the log at the same time. */
const LOOKS_AT_ONCE = 16;

interface Held {
  readonly feed: Feed;
  holders: number;
  /** Sweeps since the last look. */
  age: number;
}

export class Feeds {
  readonly #log: MessageLog;
  readonly #counters: Counters;
  readonly #held = new Map<string, Held>();
  readonly #stopSweep: CancelTimer;
  readonly #replaced: (last: number | undefined) => void;
  /** Of the log that the feeds' positions are of. */
  #identity: string | undefined;
  /** Feeds whose look is due, in order. */
  readonly #due = new Set<Held>();
  #looking = 0;
  #last = 0;
  /** Answers in a row with a lower end than before. */
  #lower = 0;

  /** `replaced`: the log was set back and ends at `last`, or is another one: undefined. Positions behind it mean nothing any more. */
  constructor(log: MessageLog, counters: Counters, clock: Clock, replaced: (last: number | undefined) => void) {
    this.#replaced = replaced;
    this.#log = log;
    this.#counters = counters;
    this.#stopSweep = clock.every(SWEEP_MILLISECONDS, () => this.#sweep());
  }

  get count(): number {
    return this.#held.size;
  }

  /** A position that the log has passed: where to look for what comes from now on. */
  get position(): number {
    return this.#last;
  }

  /** The feed of a pattern; every call is one more {@link drop}. */
  hold(pattern: LogPattern): Feed {
    const known = this.#held.get(pattern.key);
    if (known !== undefined) {
      known.holders++;
      if (this.#log.refusal(pattern) !== undefined) known.feed.followAgain();
      return known.feed;
    }
    const feed = new Feed(pattern, this.#log, this.#counters);
    // Looked at by the sweep after next: a second later at least.
    const held = { feed, holders: 1, age: QUIET_SWEEPS - UNPROVEN_SWEEPS };
    this.#held.set(pattern.key, held);
    this.#open(feed);
    if (this.#identity === undefined) this.#sweep();
    return feed;
  }

  drop(feed: Feed): void {
    const { key } = feed.pattern;
    const held = this.#held.get(key);
    if (held === undefined || held.feed !== feed || --held.holders > 0) return;
    this.#held.delete(key);
    this.#due.delete(held);
    feed.close();
  }

  /** The feed looks at the log as soon as it may. */
  look(feed: Feed): void {
    const held = this.#held.get(feed.pattern.key);
    if (held !== undefined) this.#schedule(held);
  }

  /** Live copies may be missing: every feed looks. */
  gap(): void {
    for (const held of this.#held.values()) this.#schedule(held);
  }

  /** NATS was away, and may be back with less than before: compared at once, before new messages take the place of the lost ones. */
  reconnected(): void {
    let highest = this.#last;
    for (const { feed } of this.#held.values()) highest = Math.max(highest, feed.verified);
    this.#log.state().then(
      ({ isOnlyCopy, last }) => {
        const isSetBack = isOnlyCopy && last < highest;
        // With more copies one answer may be behind: the sweep looks again.
        this.#last = isSetBack ? last : highest;
        if (isSetBack) this.#giveUpAll(last);
      },
      () => {
        this.#last = highest;
        this.#counters.logReadsFailed++;
      },
    );
  }

  stop(): void {
    this.#stopSweep();
    this.#closeAll();
  }

  /** Whoever comes from now on gets feeds that know nothing of the log as it was. */
  #giveUpAll(last: number | undefined): void {
    this.#closeAll();
    this.#replaced(last);
  }

  #closeAll(): void {
    for (const { feed } of this.#held.values()) feed.close();
    this.#held.clear();
    this.#due.clear();
  }

  #open(feed: Feed): void {
    feed.open().catch(() => {
      this.#counters.logReadsFailed++;
      if (this.#held.get(feed.pattern.key)?.feed === feed)
        setTimeout(() => this.#open(feed), SWEEP_MILLISECONDS).unref();
    });
  }

  #sweep(): void {
    if (this.#held.size === 0 && this.#last > 0) return;
    this.#log.state().then(
      ({ identity, last }) => {
        if (this.#isReplaced(identity, last)) return;
        for (const held of this.#held.values()) this.#age(held, last);
      },
      () => {
        this.#counters.logReadsFailed++;
      },
    );
  }

  /** Tells of another log at once, and of one that was set back when it is so three times: a server that is behind may answer once. */
  #isReplaced(identity: string, last: number): boolean {
    const isOther = (this.#identity ?? identity) !== identity;
    this.#lower = last < this.#last ? this.#lower + 1 : 0;
    if (!isOther && this.#lower > 0 && this.#lower < CONFIRMING_ANSWERS) return false;
    const isReplaced = isOther || this.#lower > 0;
    this.#identity = identity;
    this.#last = last;
    this.#lower = 0;
    if (isReplaced) this.#giveUpAll(isOther ? undefined : last);
    return isReplaced;
  }

  #age(held: Held, last: number): void {
    held.age++;
    const { feed } = held;
    if (feed.isUnproven ? held.age >= UNPROVEN_SWEEPS : held.age >= QUIET_SWEEPS && last > feed.provenTarget) {
      this.#schedule(held);
    }
  }

  #schedule(held: Held): void {
    this.#due.add(held);
    this.#lookAtNext();
  }

  #lookAtNext(): void {
    for (const held of this.#due) {
      if (this.#looking >= LOOKS_AT_ONCE) return;
      this.#due.delete(held);
      held.age = 0;
      this.#looking++;
      held.feed
        .check()
        .catch(() => {
          this.#counters.logReadsFailed++;
          held.age = QUIET_SWEEPS; // again with the next sweep
        })
        .finally(() => {
          this.#looking--;
          this.#lookAtNext();
        });
    }
  }
}
