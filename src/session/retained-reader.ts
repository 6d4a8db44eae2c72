/**
 * One subscription's way through the retained messages: page by page, the next one when the client has acknowledged the one before it.
 * What was published after the subscription began comes as an ordinary message and is left out here. What was published before may reach its place
 * only afterwards (its node waits for JetStream): it has a higher position, so the reader looks behind the last one again, for a while.
 */

import type { RetainedCursor, RetainedMessage, RetainedPage, RetainedStore } from '../broker/ports.ts';
import type { NotedTopics } from '../noted-topics.ts';
import type { SessionSubscription } from './subscription.ts';

/** What a reader hands messages to; retained-copies.ts. */
export interface RetainedSink {
  /** False: no room; the same message is offered again by {@link RetainedReader.pump}. */
  offerRetained(message: RetainedMessage, reader: RetainedReader): boolean;
  /** Everything is with the client, for the first time. */
  retainedRead(reader: RetainedReader): void;
}

/** Messages that are handed out in one go. */
const AT_ONCE = 64;
/** Between two pages of a long way: the node has others to serve. */
const PAUSE_MILLISECONDS = 5;

export interface RetainedReaderOptions {
  readonly store: RetainedStore;
  readonly sink: RetainedSink;
  readonly subscription: SessionSubscription;
  /** Where an earlier node has come to; 0 = nowhere. */
  readonly from: number;
  /** Positions in the log of messages behind `from` that the client has. */
  readonly done: readonly number[];
  /** End of the log when the subscription was in effect. */
  readonly until: number;
  /** `Clock.now` when it was. */
  readonly since: number;
  /** Topics of newer retained messages that the client has got since. */
  readonly noted: NotedTopics;
}

export class RetainedReader {
  readonly subscription: SessionSubscription;
  readonly #options: RetainedReaderOptions;
  /** Everything up to here is with the client. */
  #cursor: RetainedCursor;
  #page: RetainedPage | undefined;
  #index = 0;
  /** Deliveries of the page that wait for their acknowledgement. */
  #unacknowledged = 0;
  /** Positions in the log of what the client has of the page. */
  readonly #done: Set<number>;
  #isFetching = false;
  /** All was read, until {@link readAgain}. */
  #isResting = false;
  #hasReadAll = false;
  /** Highest position seen. */
  #highest: number;
  #since: number;
  #isClosed = false;

  constructor(options: RetainedReaderOptions) {
    this.#options = options;
    this.subscription = options.subscription;
    this.#done = new Set(options.done);
    this.#highest = options.from;
    this.#since = options.since;
    this.#cursor = { position: options.from, isBroad: false };
  }

  /** Position in the store up to which everything is with the client: where a resumed session goes on. */
  get position(): number {
    return this.#cursor.position;
  }

  get done(): readonly number[] {
    return [...this.#done];
  }

  /** Whether the client gets or has got this topic, with a message at least as new, without us. */
  isElsewhere({ sequence, topic }: RetainedMessage): boolean {
    return sequence > this.#options.until || this.#done.has(sequence) || this.#options.noted.has(topic.name);
  }

  /** A delivery waits for its acknowledgement. */
  delivered(): void {
    this.#unacknowledged++;
  }

  acknowledged(sequence: number): void {
    this.#unacknowledged--;
    if (sequence > 0) this.#done.add(sequence);
    this.#turnPage();
  }

  /** The client may get more, or the store is asked again. */
  pump(): void {
    if (this.#isClosed || this.#isFetching || this.#isResting) return;
    if (this.#page === undefined) return this.#fetch();
    const { messages } = this.#page;
    const pauseAt = this.#index + AT_ONCE;
    for (; this.#index < messages.length; this.#index++) {
      if (this.#index === pauseAt) return this.#goOnLater();
      const message = messages[this.#index];
      if (message !== undefined && !this.#options.sink.offerRetained(message, this)) return;
      this.#highest = Math.max(this.#highest, message?.position ?? 0);
      // Taken, and the connection has ended over it.
      if (this.#isClosed) return;
    }
    this.#turnPage();
  }

  /** Looks at what has come behind everything seen, never at pages of before. */
  readAgain(): void {
    if (this.#isClosed || !this.#isResting) return;
    this.#isResting = false;
    this.#since = Number.POSITIVE_INFINITY;
    this.#cursor = { position: this.#highest, isBroad: this.#cursor.isBroad };
    this.#fetch();
  }

  close(): void {
    this.#isClosed = true;
    this.#page = undefined;
  }

  /** Others get their turn. */
  #goOnLater(): void {
    setImmediate(() => this.pump());
  }

  #turnPage(): void {
    const page = this.#page;
    if (this.#isClosed || page === undefined || this.#index < page.messages.length || this.#unacknowledged > 0) return;
    this.#page = undefined;
    this.#index = 0;
    if (page.next === undefined) {
      this.#isResting = true;
      if (this.#hasReadAll) return;
      this.#hasReadAll = true;
      return this.#options.sink.retainedRead(this);
    }
    this.#cursor = page.next;
    this.#done.clear();
    this.#isFetching = true;
    setTimeout(() => this.#fetch(), PAUSE_MILLISECONDS);
  }

  #fetch(): void {
    if (this.#isClosed) return;
    const { store, subscription } = this.#options;
    this.#isFetching = true;
    store.page(subscription.filter, this.#cursor, this.#since).then(
      (page) => {
        this.#isFetching = false;
        if (this.#isClosed) return;
        this.#page = page;
        this.pump();
      },
      () => {
        // The store does not answer: asked again with the next pump, a second later at most.
        this.#isFetching = false;
      },
    );
  }
}
