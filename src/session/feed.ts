/**
 * The live messages of one pattern on this node, for all sessions that read it. A live copy can be missing (docs/delivery-guarantees.md),
 * so a feed hands on only what it can prove to be in place: `verified` is the position up to which every message of the pattern was
 * handed to the readers, and a message whose predecessor on its topic was not seen makes the feed read the log first.
 * Invariant: readers get each message once, per topic in the order of the log.
 */
import type { BusSubscription, LogPage, LogPattern, LogRecord, MessageLog } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';

/** What a feed hands messages to; session/reader.ts. */
export interface FeedReader {
  /** Index of the next message of the feed that the reader has not taken. */
  index: number;
  /** False: cannot take it now and will come for it. */
  take(record: LogRecord): boolean;
  /** The ring no longer holds the message at `index`; `base`: everything up to here was taken. */
  overrun(base: number): void;
  /** The feed has looked at the log: `verified` has moved. */
  proven(): void;
}

/** A message that some reader has not taken yet. */
interface Waiting {
  readonly record: LogRecord;
  /** `verified` when it was handed out. */
  readonly base: number;
}

/** Bytes of messages that a feed keeps for readers that lag; beyond, they read the log. */
const RING_BYTES = 256 * 1024;
/** Memory that a message takes beside its payload. */
const RECORD_OVERHEAD_BYTES = 512;
/** Live messages held while the log is read; beyond, it is read once more. */
const HELD_MESSAGES = 1_024;
/** Messages above `verified` that a feed remembers; beyond, the live copies are no longer looked at until the log was read. */
const MAXIMUM_SEEN = 100_000;
const PAGE_MESSAGES = 256;
/** Pause before the log is asked again after it did not answer. */
const RETRY_MILLISECONDS = 250;

export class Feed {
  readonly pattern: LogPattern;
  /** Resolves when {@link open} has succeeded, or the feed is closed. What is behind a position asked for after it is handed out. */
  readonly opened: Promise<void>;
  /** Everything of the pattern up to this position was handed to the readers. */
  verified = 0;
  /** Position of the log that was proven last; the next look may begin when the log has moved beyond. */
  #provenTarget = 0;
  readonly #log: MessageLog;
  readonly #counters: Counters;
  readonly #live: BusSubscription;
  readonly #readers = new Set<FeedReader>();
  /** Positions above `verified` that were handed out; an exact pattern has none: its chain proves each message. */
  readonly #seen = new Set<number>();
  #ring: Waiting[] = [];
  #ringStart = 0;
  #ringBytes = 0;
  /** Index of the next message. */
  #end = 0;
  #held: LogRecord[] | undefined = [];
  #hasDropped = false;
  #checking: Promise<void> | undefined;
  #tellOpened: () => void = () => {};
  #isOpen = false;
  #isClosed = false;

  constructor(pattern: LogPattern, log: MessageLog, counters: Counters) {
    this.pattern = pattern;
    this.#log = log;
    this.#counters = counters;
    this.opened = new Promise((resolve) => {
      this.#tellOpened = resolve;
    });
    this.#live = log.follow(pattern, (record) => this.#arrived(record));
  }

  /** Resolves once live messages are handed out: everything behind the position of that moment. */
  async open(): Promise<void> {
    await this.#log.confirm();
    const { last } = await this.#log.state();
    this.verified = last;
    this.#provenTarget = last;
    this.#isOpen = true;
    this.#release();
    this.#tellOpened();
  }

  get end(): number {
    return this.#end;
  }

  get readerCount(): number {
    return this.#readers.size;
  }

  /** Messages were handed out that are not proven to be all. */
  get isUnproven(): boolean {
    return this.#seen.size > 0;
  }

  get provenTarget(): number {
    return this.#provenTarget;
  }

  /** The reader gets what is handed out from now on. */
  attach(reader: FeedReader): void {
    reader.index = this.#end;
    this.#readers.add(reader);
  }

  detach(reader: FeedReader): void {
    this.#readers.delete(reader);
    this.#trim();
  }

  /** Up to where everything was taken by a reader that stands at `index`. */
  positionAt(index: number): number {
    return index >= this.#end ? this.verified : (this.#ring[index - this.#ringStart]?.base ?? 0);
  }

  /** The reader takes what waits for it, as far as it can. */
  serve(reader: FeedReader): void {
    while (reader.index < this.#end && this.#readers.has(reader)) {
      const waiting = this.#ring[reader.index - this.#ringStart];
      if (waiting === undefined || !reader.take(waiting.record)) break;
      reader.index++;
    }
    this.#trim();
  }

  /** Reads the log from `verified` on and hands out what was missing; one look at a time. Nothing before {@link open}. */
  async check(): Promise<void> {
    if (!this.#isOpen) return;
    // One that is under way may have asked for the end of the log before what makes us look.
    await this.#checking?.catch(() => {});
    this.#checking ??= this.#readUp().finally(() => {
      this.#checking = undefined;
    });
    await this.#checking;
  }

  /** The backplane has refused it; by now it may be granted. */
  followAgain(): void {
    this.#live.askAgain();
  }

  /** Hands out nothing more; positions of its readers can still be asked for. */
  close(): void {
    this.#isClosed = true;
    this.#live.end();
    this.#tellOpened();
  }

  #arrived(record: LogRecord): void {
    if (this.#held !== undefined) return this.#hold(record);
    const { previous, sequence } = record;
    if (sequence <= this.verified || this.#seen.has(sequence)) return;
    const hasHole = previous > this.verified && !this.#seen.has(previous);
    if (!hasHole && this.#seen.size < MAXIMUM_SEEN) return this.#handOut(record);
    if (hasHole) this.#counters.logHoles++;
    this.#held = [record];
    this.#repair();
  }

  /** Live messages wait until everything before them was read. */
  #repair(): void {
    this.#readUntilDone().catch(() => {
      // Closed: nobody reads this feed any more.
    });
  }

  async #readUntilDone(): Promise<void> {
    do {
      this.#hasDropped = false;
      // A look that is under way may have begun before the hole.
      await this.#checking?.catch(() => {});
      await this.#checkUntilAnswered();
    } while (this.#hasDropped);
    this.#release();
  }

  async #checkUntilAnswered(): Promise<void> {
    for (;;) {
      if (this.#isClosed) throw new Error('closed');
      try {
        return await this.check();
      } catch {
        // Whoever should have answered is away; counted where it was asked.
        await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS).unref());
      }
    }
  }

  #hold(record: LogRecord): void {
    if (this.#held !== undefined && this.#held.length < HELD_MESSAGES) this.#held.push(record);
    else this.#hasDropped = true;
  }

  /** Back to live: what was held goes through the same checks again. */
  #release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    const dropped = this.#hasDropped;
    this.#hasDropped = false;
    for (const record of held) this.#arrived(record);
    if (dropped && this.#held === undefined) {
      this.#held = [];
      this.#repair();
    }
  }

  async #readUp(): Promise<void> {
    const { last: target } = await this.#log.state();
    // Quiet topics: one question to the leader is cheaper than a read that finds nothing.
    let page = this.pattern.isExact ? await this.#next(target) : await this.#read(target);
    while (!this.#isClosed) {
      for (const record of page.records) this.#prove(record);
      this.verified = Math.max(this.verified, page.upTo);
      if (this.verified >= target) break;
      page = await this.#read(target);
    }
    if (this.#isClosed) return;
    this.#forgetProven();
    this.#provenTarget = this.verified;
    for (const reader of this.#readers) reader.proven();
  }

  /** What the log has next; when a replica shows nothing, the leader's word. */
  async #read(target: number): Promise<LogPage> {
    const page = await this.#log.read(this.pattern, this.verified, PAGE_MESSAGES);
    return page.records.length > 0 || page.upTo >= target ? page : this.#next(target);
  }

  async #next(target: number): Promise<LogPage> {
    const next = await this.#log.readNext(this.pattern, this.verified);
    if (next === undefined || next.sequence > target) return { records: [], upTo: target };
    return { records: [next], upTo: next.sequence };
  }

  /** A message read in order: handed out if it was not yet, and nothing before it is missing. */
  #prove(record: LogRecord): void {
    const { sequence } = record;
    if (sequence <= this.verified) return;
    if (!this.#seen.has(sequence)) {
      this.#counters.logRepaired++;
      this.#append(record);
    }
    this.#seen.delete(sequence);
    this.verified = sequence;
  }

  #forgetProven(): void {
    for (const sequence of this.#seen) if (sequence <= this.verified) this.#seen.delete(sequence);
  }

  #handOut(record: LogRecord): void {
    const { sequence } = record;
    if (this.pattern.isExact) {
      const base = this.verified;
      this.verified = sequence;
      this.#append(record, base);
    } else {
      this.#seen.add(sequence);
      this.#append(record);
    }
  }

  #append(record: LogRecord, base = this.verified): void {
    const index = this.#end++;
    let isTaken = true;
    for (const reader of this.#readers) {
      if (reader.index === index && reader.take(record)) reader.index = index + 1;
      else if (reader.index <= index) isTaken = false;
    }
    if (isTaken) return this.#dropAll();
    this.#ring.push({ record, base });
    this.#ringBytes += bytesOf(record);
    if (this.#ringBytes > RING_BYTES) this.#evict();
  }

  /** Makes room; readers that lag too far read the log from here on. */
  #evict(): void {
    this.#trim();
    while (this.#ringBytes > RING_BYTES) {
      const [oldest] = this.#ring;
      if (oldest === undefined) return;
      for (const reader of this.#readers) {
        if (reader.index !== this.#ringStart) continue;
        this.#readers.delete(reader);
        reader.overrun(oldest.base);
      }
      this.#dropFirst(1);
    }
  }

  /** Forgets what every reader has taken. */
  #trim(): void {
    if (this.#ring.length === 0) return;
    let lowest = this.#end;
    for (const { index } of this.#readers) lowest = Math.min(lowest, index);
    if (lowest > this.#ringStart) this.#dropFirst(lowest - this.#ringStart);
  }

  #dropAll(): void {
    this.#ringStart = this.#end;
    if (this.#ring.length === 0) return;
    this.#ring = [];
    this.#ringBytes = 0;
  }

  #dropFirst(count: number): void {
    for (const { record } of this.#ring.splice(0, count)) this.#ringBytes -= bytesOf(record);
    this.#ringStart += count;
  }
}

function bytesOf({ extras, payload }: LogRecord): number {
  return payload.length + (extras?.properties.length ?? 0) + RECORD_OVERHEAD_BYTES;
}
