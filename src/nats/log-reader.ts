/**
 * Pages of the log by batched direct get. A server looks for one topic's messages by walking over all others, so many sessions that come
 * back at once would each make it walk the same way: when many reads wait, the log is read once, from the lowest of their positions on,
 * and each of them gets its part.
 */
import type { Msg } from 'nats';
import type { LogPage, LogPattern, LogRecord } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import { type Requests, UnavailableError } from './jetstream.ts';
import { LOG_PREFIX, LOG_STREAM, type LogRecords } from './log-record.ts';
import { decodeText, headerBlock, lastHeader } from './raw-message.ts';
import { subjectMatches } from './subject.ts';

const PAGE_BYTES = 256 * 1024;
const READ_MILLISECONDS = 1_000;
const READS_AT_ONCE = 16;
/** Waiting reads from which on one shared read serves them. */
const SHARED_READS = 16;
/** Size of a shared read: large, so that each of many readers gets several messages of it and its socket one write for them. */
const SHARED_MESSAGES = 32_768;
const SHARED_BYTES = 8 * 1024 * 1024;
const SHARED_MILLISECONDS = 5_000;
/** A shared read walks over everything: worth it for so many messages per waiting read. */
const SHARED_DISTANCE = 1_000;

export interface LogReaderOptions {
  readonly requests: Requests;
  readonly records: LogRecords;
  readonly counters: Counters;
  /** The stream has one replica: what it does not have, nobody has. */
  readonly isAlone: boolean;
  /** Highest position that the leader has told of. */
  readonly knownLast: () => number;
  /** The leader's word. */
  readonly next: (pattern: LogPattern, after: number) => Promise<LogRecord | undefined>;
}

interface WaitingRead {
  readonly pattern: LogPattern;
  readonly after: number;
  readonly limit: number;
  readonly resolve: (page: LogPage) => void;
  readonly reject: (error: unknown) => void;
}

interface PageSize {
  readonly limit: number;
  readonly bytes: number;
  readonly timeoutMs: number;
}

/** What one batched direct get has brought. */
interface Batch {
  readonly after: number;
  readonly subjects: string[];
  readonly records: LogRecord[];
  upTo: number;
}

export class LogReader {
  readonly #options: LogReaderOptions;
  #underWay = 0;
  #waiting: WaitingRead[] = [];
  #isSharing = false;
  /** Reads to be served alone before another shared one is tried. */
  #aloneLeft = 0;

  constructor(options: LogReaderOptions) {
    this.#options = options;
  }

  read(pattern: LogPattern, after: number, limit: number): Promise<LogPage> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ pattern, after, limit, resolve, reject });
      // Those that come in this turn, or with the answers of one shared read, are looked at together.
      if (this.#waiting.length === 1) setImmediate(this.#serve);
    });
  }

  readonly #serve = (): void => {
    if (this.#isSharing) return;
    if (this.#isWorthSharing()) {
      this.#isSharing = true;
      this.#share()
        .catch(() => {
          // Those that wait now are served one by one: a replica may be frozen, or the way too long.
          this.#aloneLeft = this.#waiting.length;
        })
        .finally(() => {
          this.#isSharing = false;
          if (this.#waiting.length > 0) setImmediate(this.#serve);
        });
      return;
    }
    while (this.#underWay < READS_AT_ONCE) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#underWay++;
      if (this.#aloneLeft > 0) this.#aloneLeft--;
      this.#readAlone(next)
        .then(next.resolve, next.reject)
        .finally(() => {
          this.#underWay--;
          this.#serve();
        });
    }
  };

  #isWorthSharing(): boolean {
    const { length } = this.#waiting;
    if (length < SHARED_READS || this.#aloneLeft > 0) return false;
    return this.#options.knownLast() - this.#lowest() < length * SHARED_DISTANCE;
  }

  #lowest(): number {
    return this.#waiting.reduce((lowest, { after }) => Math.min(lowest, after), Number.POSITIVE_INFINITY);
  }

  async #share(): Promise<void> {
    const lowest = this.#lowest();
    const batch = await this.#fetch('>', lowest, {
      limit: SHARED_MESSAGES,
      bytes: SHARED_BYTES,
      timeoutMs: SHARED_MILLISECONDS,
    });
    // Reads that have come meanwhile may begin before it: they wait. Nothing behind the lowest: whoever waits there asks the leader.
    const served = this.#waiting.filter(({ after }) => after === lowest || (after > lowest && after < batch.upTo));
    this.#waiting = this.#waiting.filter((read) => !served.includes(read));
    const exact = new Map<string, WaitingRead[]>();
    const wild: WaitingRead[] = [];
    const found = new Map<WaitingRead, LogRecord[]>(served.map((read) => [read, []]));
    for (const read of served) {
      if (read.pattern.isExact) exact.set(read.pattern.key, [...(exact.get(read.pattern.key) ?? []), read]);
      else wild.push(read);
    }
    for (const [index, record] of batch.records.entries()) {
      const subject = batch.subjects[index] ?? '';
      for (const read of exact.get(subject) ?? []) keep(read, record, found);
      for (const read of wild) if (subjectMatches(read.pattern.key, subject)) keep(read, record, found);
    }
    for (const [read, records] of found) {
      const isCut = records.length >= read.limit;
      const upTo = isCut ? (records.at(-1)?.sequence ?? read.after) : Math.max(read.after, batch.upTo);
      read.resolve({ records, upTo });
    }
  }

  async #readAlone({ after, limit, pattern }: WaitingRead): Promise<LogPage> {
    const page = { limit, bytes: PAGE_BYTES, timeoutMs: READ_MILLISECONDS };
    try {
      return await this.#fetch(pattern.key, after, page);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      // A replica that is frozen or gone: any other one, then the leader, message by message.
      return await this.#fetch(pattern.key, after, page).catch(() => this.#askLeader(pattern, after));
    }
  }

  async #askLeader(pattern: LogPattern, after: number): Promise<LogPage> {
    const next = await this.#options.next(pattern, after);
    return next === undefined ? { records: [], upTo: after } : { records: [next], upTo: next.sequence };
  }

  async #fetch(key: string, after: number, { bytes, limit, timeoutMs }: PageSize): Promise<Batch> {
    const { counters, isAlone, knownLast, records, requests } = this.#options;
    const last = knownLast();
    const batch: Batch = { after, subjects: [], records: [], upTo: after };
    const query = { seq: after + 1, next_by_subj: LOG_PREFIX + key, batch: limit, max_bytes: bytes };
    const take = (message: Msg): boolean => {
      const block = headerBlock(message);
      if (message.data.length === 0 && !block.startsWith('NATS/1.0\r\n')) {
        checkChain(block, batch);
        // The end of a page or of what there is: the only replica has all that its leader has told of.
        if (isAlone && isComplete(block)) batch.upTo = Math.max(batch.upTo, last);
        return true;
      }
      checkChain(block, batch);
      batch.upTo = Number(lastHeader(block, 'Nats-Sequence'));
      const record = records.ofDirect(message);
      if (record === undefined) counters.dropped.notMqtt++;
      else {
        batch.records.push(record);
        batch.subjects.push(decodeText(lastHeader(block, 'Nats-Subject') ?? '').slice(LOG_PREFIX.length));
      }
      return false;
    };
    await requests.collect(`$JS.API.DIRECT.GET.${LOG_STREAM}`, JSON.stringify(query), take, timeoutMs);
    return batch;
  }
}

/**
 * Each answer of a batch names the one before it: one that got lost on its way must not pass as proof.
 * @throws UnavailableError
 */
function checkChain(block: string, { after, upTo }: Batch): void {
  const previous = lastHeader(block, 'Nats-Last-Sequence');
  if (upTo > after && previous !== undefined && Number(previous) !== upTo)
    throw new UnavailableError('an answer of the log was lost');
}

function keep(read: WaitingRead, record: LogRecord, found: ReadonlyMap<WaitingRead, LogRecord[]>): void {
  const records = found.get(read);
  if (records !== undefined && record.sequence > read.after && records.length < read.limit) records.push(record);
}

/** 404: nothing there; 204 with nothing pending: that was all. */
function isComplete(block: string): boolean {
  return block.startsWith('NATS/1.0 404') || lastHeader(block, 'Nats-Num-Pending') === '0';
}
