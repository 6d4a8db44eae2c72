/**
 * One session's way through one pattern. Live, it takes what the feed hands out; when the client is slower than that, it lets the feed go
 * on, reads the log from where it stands, and joins the feed again. Nothing but a position is kept for a client that lags.
 */
import type { LogRecord, MessageLog } from '../broker/ports.ts';
import type { Feed, FeedReader } from './feed.ts';
import type { SessionSubscription } from './subscription.ts';

/** What a reader hands messages to; log-deliveries.ts. */
export interface RecordSink {
  /** False: the window is full; the same message is offered again. */
  offer(record: LogRecord, reader: Reader): boolean;
  /** A reader's position has moved although nothing was delivered. */
  proven(): void;
  /** How many more messages the client may get now; 0 while it is not worth reading the log for it. */
  readonly room: number;
}

const MAXIMUM_PAGE = 256;

export class Reader implements FeedReader {
  index = 0;
  readonly subscription: SessionSubscription;
  readonly feed: Feed;
  /** The readers of a message that no other subscription of the session matches. */
  readonly alone: readonly Reader[] = [this];
  readonly #log: MessageLog;
  readonly #sink: RecordSink;
  /** Positions up to here were taken, or are from before the subscription. */
  #floor: number;
  #isLive: boolean;
  /** While not live: everything up to here was taken. */
  #position: number;
  #isAttached = false;
  /** While not live: the end of the log, asked for after attaching; the feed keeps what is behind it. Outlives one {@link pump}. */
  #target: number | undefined;
  #isReading = false;
  #isClosed = false;

  /** `position`: where a resumed subscription stands; undefined = a new one, which gets nothing before {@link begin}. */
  constructor(options: {
    subscription: SessionSubscription;
    feed: Feed;
    log: MessageLog;
    sink: RecordSink;
    position: number | undefined;
  }) {
    this.subscription = options.subscription;
    this.feed = options.feed;
    this.#log = options.log;
    this.#sink = options.sink;
    this.#isLive = options.position === undefined;
    this.#floor = options.position ?? Number.POSITIVE_INFINITY;
    this.#position = options.position ?? 0;
    if (this.#isLive) this.#attach();
  }

  /** A new subscription gets what is behind `start`. */
  begin(start: number): void {
    if (this.#floor === Number.POSITIVE_INFINITY) this.#floor = start;
  }

  /** Whether it is known where the subscription begins. */
  get hasBegun(): boolean {
    return this.#floor !== Number.POSITIVE_INFINITY;
  }

  /** Everything of the pattern up to here was taken: what a resumed session starts with. */
  get position(): number {
    if (!this.#isLive) return this.#position;
    const floor = this.#floor === Number.POSITIVE_INFINITY ? 0 : this.#floor;
    return Math.max(floor, this.feed.positionAt(this.index));
  }

  /** Its subscription is gone: nobody waits for it to pass anything. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Lags behind the feed or reads the log. */
  get isBehind(): boolean {
    return !this.#isLive || this.index < this.feed.end;
  }

  take(record: LogRecord): boolean {
    if (!this.#isLive) return false;
    return record.sequence <= this.#floor || this.#sink.offer(record, this);
  }

  overrun(base: number): void {
    this.#isAttached = false;
    if (!this.#isLive) return;
    if (this.subscription.options.qos === 0) {
      // At most once: what a slow client missed is gone.
      this.#attach();
      return;
    }
    this.#position = Math.max(base, this.#floor === Number.POSITIVE_INFINITY ? 0 : this.#floor);
    this.#isLive = false;
    this.#target = undefined;
  }

  proven(): void {
    this.#sink.proven();
  }

  /** The client may get more: goes on where it stopped. */
  pump(): void {
    if (this.#isClosed || this.subscription.isHeld) return;
    if (this.#isLive) {
      this.feed.serve(this);
      return;
    }
    if (this.#isReading || this.#sink.room === 0) return;
    this.#isReading = true;
    this.#readOn().catch(() => {
      // The log does not answer: asked again by the sweep of sessions.ts.
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#detach();
  }

  async #readOn(): Promise<void> {
    const { pattern } = this.feed;
    try {
      while (!this.#isClosed && !this.#isLive && this.#sink.room > 0) {
        // Attached first: what is handed out from here on waits in the feed until the log was read up to `target`.
        if (!this.#isAttached && this.#position >= (this.#target ?? 0)) {
          this.#attach();
          this.#target = undefined;
        }
        // A feed hands out what is behind the end of the log that it has seen itself: ours must not be before that.
        if (this.#target === undefined) await this.feed.opened;
        this.#target ??= (await this.#log.state()).last;
        const target = this.#target;
        const limit = Math.min(this.#sink.room, MAXIMUM_PAGE);
        if (limit === 0) return;
        const before = this.#position;
        const page = await this.#log.read(pattern, before, limit);
        if (this.#isClosed || !this.#takeAll(page.records)) return;
        this.#position = Math.max(this.#position, page.upTo);
        if (page.records.length >= limit) continue;
        if (this.#position === before && before < target) {
          // A replica's silence proves nothing; the leader's does.
          const next = await this.#log.readNext(pattern, before);
          if (this.#isClosed || !this.#takeAll(next === undefined ? [] : [next])) return;
          if (next === undefined) this.#position = target;
        }
        if (this.#position >= target && this.#isAttached) return this.#join(target);
      }
    } finally {
      // In the same step as the last look at the room: who makes room in between would not be noticed.
      this.#isReading = false;
    }
  }

  /** The log has nothing more up to `target`, and everything handed out since is in the feed's ring. */
  #join(target: number): void {
    this.#floor = Math.max(this.#position, target);
    this.#isLive = true;
    this.feed.serve(this);
  }

  #takeAll(page: readonly LogRecord[]): boolean {
    for (const record of page) {
      if (record.sequence > this.#position && !this.#sink.offer(record, this)) return false;
      this.#position = Math.max(this.#position, record.sequence);
    }
    return true;
  }

  #attach(): void {
    this.#isAttached = true;
    this.feed.attach(this);
  }

  #detach(): void {
    this.#isAttached = false;
    this.feed.detach(this);
  }
}
