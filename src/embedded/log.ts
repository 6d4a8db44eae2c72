/**
 * The MessageLog in the memory of one process: what a node uses when no NATS is configured. Same behaviour as nats/log.ts
 * (test/contract), but nothing outlives the process, no live copy is ever missing and nothing is ever under way for longer than
 * a microtask. Bounded by bytes and age: the oldest messages go.
 */
import { randomUUID } from 'node:crypto';
import type {
  BusSubscription,
  LogPage,
  LogPattern,
  LogPublish,
  LogRecord,
  LogState,
  MessageLog,
} from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import { hasWildcard, topicMatches } from '../mqtt/topic.ts';
import { DuplicateWindow } from './duplicate-window.ts';
import { FilterTree } from './filter-tree.ts';
import { RecordQueue, recordBytes } from './record-queue.ts';

const DEFAULT_MAXIMUM_BYTES = 64 * 1024 * 1024;
/** The same caps as those of embedded/bus.ts. */
const MAX_FILTER_BYTES = 3_000;
const MAX_LEVELS = 256;
/** Payload and properties in one answer to `read`. */
const PAGE_BYTES = 256 * 1024;
/** Messages looked at before others get their turn. */
const SCAN_MESSAGES = 2_048;
/** Between two looks for expired messages in the midst of the log. */
const SWEEP_MILLISECONDS = 60_000;

/** What an {@link EmbeddedLog} is made with. */
export interface EmbeddedLogOptions {
  /** Memory that the messages take at most; default 64 MiB. */
  readonly maximumBytes?: number;
  /** Older messages go; 0 = never. */
  readonly maximumAgeSeconds: number;
  readonly clock: Clock;
}

/** An object of its own for each `follow`, so that the same function can follow twice. */
interface Follower {
  readonly take: (record: LogRecord) => void;
}

/** The log of a node without NATS. */
export class EmbeddedLog implements MessageLog {
  readonly #identity = randomUUID();
  readonly #clock: Clock;
  readonly #maximumBytes: number;
  readonly #records: RecordQueue;
  readonly #duplicates = new DuplicateWindow();
  readonly #followers = new FilterTree<Follower>();
  readonly #stopSweep: CancelTimer;
  /** Published and not settled; all of them in the next microtask. */
  #batch: LogPublish[] = [];
  #isClosed = false;

  constructor({ maximumBytes = DEFAULT_MAXIMUM_BYTES, maximumAgeSeconds, clock }: EmbeddedLogOptions) {
    this.#clock = clock;
    this.#maximumBytes = maximumBytes;
    this.#records = new RecordQueue(maximumBytes, maximumAgeSeconds);
    this.#stopSweep = clock.every(SWEEP_MILLISECONDS, () => this.#records.sweep(clock.wall()));
  }

  publish(message: LogPublish): void {
    // The caller is told after its call has returned, as with a log that has to be asked.
    if (this.#batch.push(message) === 1) queueMicrotask(this.#settleBatch);
  }

  patterns(filter: string): readonly LogPattern[] | undefined {
    if (Buffer.byteLength(filter) > MAX_FILTER_BYTES || filter.split('/').length > MAX_LEVELS) return undefined;
    return [{ key: filter, isExact: !hasWildcard(filter) }];
  }

  follow({ key }: LogPattern, take: (record: LogRecord) => void): BusSubscription {
    const follower = { take };
    this.#followers.add(key, follower);
    return { askAgain: () => {}, end: () => this.#followers.remove(key, follower) };
  }

  async confirm(): Promise<void> {}

  refusal(): undefined {
    return undefined;
  }

  async state(): Promise<LogState> {
    this.#records.trim(this.#clock.wall());
    return { identity: this.#identity, first: this.#records.first, last: this.#records.last, isOnlyCopy: true };
  }

  async read(pattern: LogPattern, after: number, limit: number): Promise<LogPage> {
    const records: LogRecord[] = [];
    let bytes = 0;
    let isCut = false;
    const { last } = await this.state();
    await this.#scan(pattern, after, (record) => {
      records.push(record);
      bytes += record.payload.length + (record.extras?.properties.length ?? 0);
      isCut = records.length >= limit || bytes >= PAGE_BYTES;
      return !isCut;
    });
    const reached = records.at(-1)?.sequence ?? after;
    return { records, upTo: isCut ? reached : Math.max(reached, last) };
  }

  async readNext(pattern: LogPattern, after: number): Promise<LogRecord | undefined> {
    let next: LogRecord | undefined;
    await this.#scan(pattern, after, (record) => {
      next = record;
      return false;
    });
    return next;
  }

  async readAt(sequence: number): Promise<LogRecord | undefined> {
    return this.#records.at(sequence, this.#clock.wall());
  }

  now(): number {
    return this.#clock.wall();
  }

  async settleAll(timeoutMs: number): Promise<void> {
    const end = this.#clock.now() + timeoutMs;
    while (this.#batch.length > 0 && this.#clock.now() < end) await Promise.resolve();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#batch = [];
    this.#stopSweep();
  }

  readonly #settleBatch = (): void => {
    const batch = this.#batch;
    this.#batch = [];
    for (const message of batch) {
      // Closed by one of those that were told.
      if (this.#isClosed) return;
      this.#store(message);
    }
  };

  /** Followers have the message before its publisher has the answer. */
  #store(message: LogPublish): void {
    const { messageId } = message;
    const now = this.#clock.now();
    const known = messageId === '' ? undefined : this.#duplicates.find(messageId, now);
    if (known !== undefined) return message.settled('stored', known);
    const record = this.#makeRecord(message);
    if (recordBytes(record) > this.#maximumBytes) return message.settled('tooLarge', 0);
    this.#records.push(record);
    if (messageId !== '') this.#duplicates.add(messageId, record.sequence, now);
    this.#followers.match(record.topic.name, ({ take }) => take(record));
    message.settled('stored', record.sequence);
  }

  #makeRecord({ route, payload, qos, extras, expirySeconds, messageId }: LogPublish): LogRecord {
    return {
      sequence: this.#records.last + 1,
      previous: this.#records.lastOn(route.name),
      topic: route,
      payload: Buffer.from(payload.buffer, payload.byteOffset, payload.length),
      qos,
      extras,
      expirySeconds,
      storedAt: this.#clock.wall(),
      messageId,
    };
  }

  /** Calls `take` for what matches behind `after`, in order, until it says false or the log ends. Long ways are walked in several turns. */
  async #scan({ key, isExact }: LogPattern, after: number, take: (record: LogRecord) => boolean): Promise<void> {
    const records = this.#records;
    const end = isExact ? records.lastOn(key) : records.last;
    const now = this.#clock.wall();
    const matches = (topic: string): boolean => (isExact ? topic === key : topicMatches(key, topic));
    let untilPause = SCAN_MESSAGES;
    for (let sequence = Math.max(after + 1, records.first); sequence <= end; sequence++) {
      const record = records.at(sequence, now);
      if (record !== undefined && matches(record.topic.name) && !take(record)) return;
      if (--untilPause > 0) continue;
      untilPause = SCAN_MESSAGES;
      await new Promise((resolve) => setImmediate(resolve));
      // Messages may have gone meanwhile.
      sequence = Math.max(sequence, records.first - 1);
    }
  }
}
