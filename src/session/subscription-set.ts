/**
 * The subscriptions of one session and the readers that bring them stored messages: which of them can match the same topic, from where on
 * each is in effect, whose reader waits or lags. A session reads the log from its first subscription with QoS 1 or 2 on, for all of them;
 * before that its QoS 0 messages come over the bus alone.
 */
import type { MessageLog } from '../broker/ports.ts';
import { filtersOverlap, type ParsedFilter, parseFilter } from '../mqtt/topic.ts';
import type { Feeds } from './feeds.ts';
import { Reader, type RecordSink } from './reader.ts';
import type { SubscriptionRecord } from './record.ts';
import { SessionSubscription, type SubscriptionOptions } from './subscription.ts';

export interface SubscriptionSetOptions {
  readonly feeds: Feeds;
  readonly log: MessageLog;
  /** Gets what the readers come to. */
  readonly sink: RecordSink;
}

export class SubscriptionSet {
  readonly #options: SubscriptionSetOptions;
  readonly #byText = new Map<string, SessionSubscription>();
  /** Readers that wait for room, lag behind their feed or read the log. */
  readonly #lagging = new Set<Reader>();
  #readsLog = false;

  constructor(options: SubscriptionSetOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byText.size;
  }

  /** Whether stored messages reach the client from the log. */
  get readsLog(): boolean {
    return this.#readsLog;
  }

  /** Some readers wait for room, lag behind their feed or read the log. */
  get isBehind(): boolean {
    return this.#lagging.size > 0;
  }

  get(text: string): SessionSubscription | undefined {
    return this.#byText.get(text);
  }

  all(): Iterable<SessionSubscription> {
    return this.#byText.values();
  }

  readers(): readonly Reader[] {
    return [...this.#byText.values()].flatMap(({ readers }) => readers);
  }

  /** The new subscription, in effect from {@link begin} on; undefined when a known one has got other options. */
  put(text: string, parsed: ParsedFilter, options: SubscriptionOptions): SessionSubscription | undefined {
    const known = this.#byText.get(text);
    const subscription = known ?? new SessionSubscription(text, parsed, options);
    if (known === undefined) this.#add(subscription);
    else known.replaceOptions(options);
    if (options.qos > 0 && parsed.group === undefined && !this.#readsLog) this.#beginReading();
    // Also a known one that had QoS 0 up to now.
    if (this.#readsLog) this.#read(subscription, undefined);
    return known === undefined ? subscription : undefined;
  }

  /** Puts back what a record says. */
  restore(records: readonly SubscriptionRecord[]): void {
    this.#readsLog = records.some(({ options, text }) => options.qos > 0 && parseFilter(text)?.group === undefined);
    for (const record of records) this.#restore(record);
  }

  /** Its readers stop where they are. */
  remove(subscription: SessionSubscription): void {
    this.#byText.delete(subscription.text);
    for (const other of subscription.overlapping) other.overlapping.splice(other.overlapping.indexOf(subscription), 1);
    for (const reader of subscription.readers) this.#close(reader);
  }

  /** Resolves when live messages of all of them are followed. */
  async following(): Promise<void> {
    await Promise.all(this.readers().map(({ feed }) => feed.opened));
  }

  /** The filters of new ones are in effect; `position` is where the log is now, asked for after {@link following}. */
  begin(position: number): void {
    for (const subscription of this.#byText.values()) {
      if (!subscription.hasBegun) subscription.start = position;
      for (const reader of subscription.readers) reader.begin(subscription.start);
    }
  }

  /** A message was not taken from this reader: {@link pump} goes on with it. */
  waits(reader: Reader): void {
    this.#lagging.add(reader);
  }

  /** The client may get more. */
  pump(): void {
    for (const reader of this.#lagging) {
      reader.pump();
      if (!reader.isBehind) this.#lagging.delete(reader);
    }
  }

  closeReaders(): void {
    for (const reader of this.readers()) this.#close(reader);
  }

  #restore({ options, positions, retainedDone, retainedDue, retainedUntil, start, text }: SubscriptionRecord): void {
    const parsed = parseFilter(text);
    if (parsed === undefined) return; // a newer version's: it keeps what this one does not know
    const subscription = new SessionSubscription(text, parsed, options);
    subscription.start = start;
    subscription.retainedDue = retainedDue;
    subscription.retainedUntil = retainedUntil;
    subscription.retainedDone = retainedDone;
    this.#add(subscription);
    if (!this.#readsLog) return;
    // QoS 0 is not kept for absent clients: it begins anew.
    this.#read(subscription, options.qos === 0 ? undefined : positions);
    if (options.qos === 0) for (const reader of subscription.readers) reader.begin(0);
  }

  #add(subscription: SessionSubscription): void {
    if (subscription.group === undefined) {
      for (const other of this.#byText.values()) {
        if (other.group !== undefined || !filtersOverlap(other.filter, subscription.filter)) continue;
        other.overlapping.push(subscription);
        subscription.overlapping.push(other);
      }
    }
    this.#byText.set(subscription.text, subscription);
  }

  #beginReading(): void {
    this.#readsLog = true;
    for (const subscription of this.#byText.values()) {
      if (subscription.options.qos > 0) continue;
      this.#read(subscription, undefined);
      for (const reader of subscription.readers) reader.begin(0);
    }
  }

  /** `positions`: where a resumed subscription stands. */
  #read(subscription: SessionSubscription, positions: readonly number[] | undefined): void {
    const { feeds, log, sink } = this.#options;
    if (subscription.group !== undefined || subscription.readers.length > 0) return;
    for (const [index, pattern] of (log.patterns(subscription.filter) ?? []).entries()) {
      const feed = feeds.hold(pattern);
      const position = positions === undefined ? undefined : (positions[index] ?? subscription.start);
      const reader = new Reader({ subscription, feed, log, sink, position });
      subscription.readers.push(reader);
      if (position !== undefined) this.#lagging.add(reader);
    }
  }

  #close(reader: Reader): void {
    reader.close();
    this.#lagging.delete(reader);
    this.#options.feeds.drop(reader.feed);
  }
}
