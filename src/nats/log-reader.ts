/**
 * Pages of the log by batched direct get. A server looks for one topic's messages by walking over all others, so many sessions that come
 * back at once would each make it walk the same way: when many reads wait, the log is read once, from the lowest of their positions on,
 * and each of them gets its part, as do those that come a moment later.
 */
import type { Msg } from 'nats';
import type { LogPage, LogPattern, LogRecord } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { type DirectAnswer, readDirectAnswer } from './direct-answer.ts';
import { type Requests, UnavailableError } from './jetstream.ts';
import { LOG_PREFIX, LOG_STREAM, type LogRecords } from './log-record.ts';
import { LogStretch, subjectOf } from './log-stretch.ts';
import { LogStretches } from './log-stretches.ts';
import { headerBlock, lastHeader } from './raw-message.ts';

const PAGE_BYTES = 256 * 1024;
const READ_MILLISECONDS = 1_000;
const READS_AT_ONCE = 16;
/** Waiting reads from which on one shared read serves them. */
const SHARED_READS = 16;
/** Size of a shared read: large, so that each of many readers gets several messages of it and its socket one write for them. */
const SHARED_MESSAGES = 32_768;
const SHARED_BYTES = 8 * 1024 * 1024;
const SHARED_MILLISECONDS = 5_000;
/** Reads that one turn of the event loop serves from what was kept. */
const KEPT_READS_AT_ONCE = 16;
/** A shared read walks over everything: worth it for so many messages per waiting read. */
const SHARED_DISTANCE = 1_000;

export interface LogReaderOptions {
  readonly requests: Requests;
  readonly records: LogRecords;
  readonly counters: Counters;
  readonly clock: Clock;
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

export class LogReader {
  readonly #options: LogReaderOptions;
  #underWay = 0;
  #waiting: WaitingRead[] = [];
  #isSharing = false;
  #isScheduled = false;
  readonly #stretches: LogStretches;
  /** Reads to be served alone before another shared one is tried. */
  #aloneLeft = 0;

  constructor(options: LogReaderOptions) {
    this.#options = options;
    this.#stretches = new LogStretches(options.clock);
  }

  read(pattern: LogPattern, after: number, limit: number): Promise<LogPage> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ pattern, after, limit, resolve, reject });
      // Those that come in this turn, or with the answers of one shared read, are looked at together.
      this.#schedule();
    });
  }

  /** The log may be another one, or end before what was read. */
  forget(): void {
    this.#stretches.forget();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#serve);
  }

  readonly #serve = (): void => {
    this.#isScheduled = false;
    this.#serveKept();
    if (this.#isSharing || this.#isScheduled) return;
    if (this.#isWorthSharing()) {
      this.#isSharing = true;
      this.#share()
        .catch(() => {
          // Those that wait now are served one by one: a replica may be frozen, or the way too long.
          this.#aloneLeft = this.#waiting.length;
        })
        .finally(() => {
          this.#isSharing = false;
          if (this.#waiting.length > 0) this.#schedule();
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
          if (this.#waiting.length > 0) this.#schedule();
        });
    }
  };

  /** What was read a moment ago is not asked for again. A few at a time: what they get is written to their clients meanwhile. */
  #serveKept(): void {
    if (this.#stretches.isEmpty) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    let left = KEPT_READS_AT_ONCE;
    for (const read of waiting) {
      const stretch = left > 0 ? this.#stretches.find(read.after) : undefined;
      if (stretch === undefined) {
        this.#waiting.push(read);
        continue;
      }
      left--;
      read.resolve(stretch.page(read.pattern, read.after, read.limit));
    }
    if (left === 0) this.#schedule();
  }

  #isWorthSharing(): boolean {
    // Those that are being served alone tell as well that many come: what is read is there for the next ones.
    const many = this.#waiting.length + this.#underWay;
    if (this.#waiting.length === 0 || many < SHARED_READS || this.#aloneLeft > 0) return false;
    return this.#options.knownLast() - this.#lowest() < many * SHARED_DISTANCE;
  }

  #lowest(): number {
    return this.#waiting.reduce((lowest, { after }) => Math.min(lowest, after), Number.POSITIVE_INFINITY);
  }

  async #share(): Promise<void> {
    const lowest = this.#lowest();
    const { forgotten } = this.#stretches;
    const stretch = new LogStretch(lowest, this.#options);
    const size = { limit: SHARED_MESSAGES, bytes: SHARED_BYTES, timeoutMs: SHARED_MILLISECONDS };
    stretch.upTo = await this.#fetch('>', lowest, size, (answer) => stretch.add(answer));
    if (this.#stretches.forgotten !== forgotten) throw new UnavailableError('the log may be another one');
    if (stretch.covers(lowest)) return this.#stretches.keep(stretch);
    // Nothing behind the lowest: whoever waits there asks the leader.
    const served = this.#waiting.filter(({ after }) => after === lowest);
    this.#waiting = this.#waiting.filter(({ after }) => after !== lowest);
    for (const { after, resolve } of served) resolve({ records: [], upTo: after });
  }

  async #readAlone(read: WaitingRead): Promise<LogPage> {
    try {
      return await this.#readPage(read);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      // A replica that is frozen or gone: any other one, then the leader, message by message.
      return await this.#readPage(read).catch(() => this.#askLeader(read.pattern, read.after));
    }
  }

  async #readPage({ after, limit, pattern }: WaitingRead): Promise<LogPage> {
    const { counters, records } = this.#options;
    const found: LogRecord[] = [];
    const size = { limit, bytes: PAGE_BYTES, timeoutMs: READ_MILLISECONDS };
    const upTo = await this.#fetch(pattern.key, after, size, (answer) => {
      const record = records.ofParts(subjectOf(answer), answer.sequence, answer);
      if (record === undefined) counters.dropped.notMqtt++;
      else found.push(record);
    });
    return { records: found, upTo };
  }

  async #askLeader(pattern: LogPattern, after: number): Promise<LogPage> {
    const next = await this.#options.next(pattern, after);
    return next === undefined ? { records: [], upTo: after } : { records: [next], upTo: next.sequence };
  }

  /** Hands out what a batched direct get brings; resolves with the position up to which that is all. */
  async #fetch(key: string, after: number, size: PageSize, take: (answer: DirectAnswer) => void): Promise<number> {
    const { isAlone, knownLast, requests } = this.#options;
    const last = knownLast();
    let upTo = after;
    // Each answer of a batch names the one before it: one that got lost on its way must not pass as proof.
    const check = (previous: number | undefined): void => {
      if (upTo > after && previous !== undefined && previous !== upTo)
        throw new UnavailableError('an answer of the log was lost');
    };
    const answered = (message: Msg): boolean => {
      const answer = readDirectAnswer(message);
      if (answer === undefined) {
        const block = headerBlock(message);
        const previous = lastHeader(block, 'Nats-Last-Sequence');
        check(previous === undefined ? undefined : Number(previous));
        // The end of a page or of what there is: the only replica has all that its leader has told of.
        if (isAlone && isComplete(block)) upTo = Math.max(upTo, last);
        return true;
      }
      check(answer.previous);
      upTo = answer.sequence;
      take(answer);
      return false;
    };
    const query = { seq: after + 1, next_by_subj: LOG_PREFIX + key, batch: size.limit, max_bytes: size.bytes };
    await requests.collect(`$JS.API.DIRECT.GET.${LOG_STREAM}`, JSON.stringify(query), answered, size.timeoutMs);
    return upTo;
  }
}

/** 404: nothing there; 204 with nothing pending: that was all. */
function isComplete(block: string): boolean {
  return block.startsWith('NATS/1.0 404') || lastHeader(block, 'Nats-Num-Pending') === '0';
}
