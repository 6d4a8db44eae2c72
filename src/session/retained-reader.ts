/**
 * One subscription's way through the retained messages: page by page, the next one when the client has acknowledged the one before it.
 * What was published after the subscription began comes as an ordinary message and is left out here.
 */

import type { RetainedCursor, RetainedMessage, RetainedPage, RetainedStore } from '../broker/ports.ts';
import type { NotedTopics } from '../noted-topics.ts';
import type { SessionSubscription } from './subscription.ts';

/** What a reader hands messages to; session/session.ts. */
export interface RetainedSink {
  /** False: no room; the same message is offered again by {@link RetainedReader.pump}. */
  offerRetained(message: RetainedMessage, reader: RetainedReader): boolean;
  /** Everything is with the client. */
  retainedRead(reader: RetainedReader): void;
}

export interface RetainedReaderOptions {
  readonly store: RetainedStore;
  readonly sink: RetainedSink;
  readonly subscription: SessionSubscription;
  /** Where an earlier node has come to; 0 = nowhere. */
  readonly from: number;
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
  #isFetching = false;
  #isClosed = false;

  constructor(options: RetainedReaderOptions) {
    this.#options = options;
    this.subscription = options.subscription;
    this.#cursor = { position: options.from, isBroad: false };
  }

  /** Position in the store up to which everything is with the client: where a resumed session goes on. */
  get position(): number {
    return this.#cursor.position;
  }

  /** Whether the client gets or has got this topic, with a message at least as new, without us. */
  isElsewhere({ sequence, topic }: RetainedMessage): boolean {
    return sequence > this.#options.until || this.#options.noted.has(topic.name);
  }

  /** A delivery waits for its acknowledgement. */
  delivered(): void {
    this.#unacknowledged++;
  }

  acknowledged(): void {
    this.#unacknowledged--;
    this.#turnPage();
  }

  /** The client may get more, or the store is asked again. */
  pump(): void {
    if (this.#isClosed || this.#isFetching) return;
    if (this.#page === undefined) return this.#fetch();
    const { messages } = this.#page;
    for (; this.#index < messages.length; this.#index++) {
      const message = messages[this.#index];
      if (message !== undefined && !this.#options.sink.offerRetained(message, this)) return;
      // Taken, and the connection has ended over it.
      if (this.#isClosed) return;
    }
    this.#turnPage();
  }

  close(): void {
    this.#isClosed = true;
    this.#page = undefined;
  }

  #turnPage(): void {
    const page = this.#page;
    if (this.#isClosed || page === undefined || this.#index < page.messages.length || this.#unacknowledged > 0) return;
    this.#page = undefined;
    this.#index = 0;
    if (page.next === undefined) {
      this.close();
      return this.#options.sink.retainedRead(this);
    }
    this.#cursor = page.next;
    this.#fetch();
  }

  #fetch(): void {
    const { since, store, subscription } = this.#options;
    this.#isFetching = true;
    store.page(subscription.filter, this.#cursor, since).then(
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
