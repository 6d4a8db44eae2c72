/**
 * A stretch of the log that was read for many sessions at once: of each message the parts that matter, copied one behind the other, so that
 * neither the chunks of the socket nor a record per message outlive the answer. A message becomes a record when somebody reads it.
 */
import type { LogPage, LogPattern, LogRecord } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import type { DirectAnswer, MessageParts } from './direct-answer.ts';
import { LOG_PREFIX, type LogRecords } from './log-record.ts';
import { subjectMatches } from './subject.ts';

const SLAB_BYTES = 256 * 1024;
/** Up to this length a loop is faster than the call. */
const SHORT_BYTES = 64;
/** What a message takes beside its bytes. */
const MESSAGE_BYTES = 160;
/** Of a page. */
const PAGE_BYTES = 256 * 1024;

interface Kept extends MessageParts {
  readonly subject: string;
  readonly sequence: number;
  /** Made for the second who reads it, and given to all after that; null = no MQTT message. */
  record: LogRecord | null | undefined;
  wasRead: boolean;
}

export interface StretchOptions {
  readonly records: LogRecords;
  readonly counters: Counters;
}

export class LogStretch {
  readonly after: number;
  /** Everything behind {@link after} up to here is in it. */
  upTo: number;
  /** Memory that it takes. */
  bytes = 0;
  readonly #options: StretchOptions;
  readonly #messages: Kept[] = [];
  readonly #bySubject = new Map<string, Kept[]>();
  #slab = Buffer.alloc(0);
  #slabEnd = 0;

  constructor(after: number, options: StretchOptions) {
    this.after = after;
    this.upTo = after;
    this.#options = options;
  }

  /** Whether it has something to say to who stands at `after`. */
  covers(after: number): boolean {
    return after >= this.after && after < this.upTo;
  }

  add(answer: DirectAnswer): void {
    const { chunk, end, linesEnd, payload, sequence, start, time, timeEnd } = answer;
    const subject = subjectOf(answer);
    const known = this.#bySubject.get(subject);
    const place = this.#reserve(linesEnd - start + timeEnd - time + end - payload);
    this.#copy(chunk, start, linesEnd);
    const behindLines = this.#slabEnd;
    this.#copy(chunk, time, timeEnd);
    const behindTime = this.#slabEnd;
    this.#copy(chunk, payload, end);
    const kept: Kept = {
      chunk: this.#slab,
      start: place,
      linesEnd: behindLines,
      time: behindLines,
      timeEnd: behindTime,
      payload: behindTime,
      end: this.#slabEnd,
      // One string for all messages of a topic.
      subject: known?.[0]?.subject ?? subject,
      sequence,
      record: undefined,
      wasRead: false,
    };
    this.#messages.push(kept);
    if (known === undefined) this.#bySubject.set(subject, [kept]);
    else known.push(kept);
    this.bytes += MESSAGE_BYTES;
  }

  /** What of it is behind `after`, for who is {@link covers covered}. */
  page({ isExact, key }: LogPattern, after: number, limit: number): LogPage {
    const messages = isExact ? (this.#bySubject.get(key) ?? []) : this.#messages;
    const records: LogRecord[] = [];
    let bytes = 0;
    for (let index = firstBehind(messages, after); index < messages.length; index++) {
      const message = messages[index];
      if (message === undefined || (!isExact && !subjectMatches(key, message.subject))) continue;
      const record = this.#recordOf(message);
      if (record === null) continue;
      records.push(record);
      bytes += message.end - message.start;
      if (records.length >= limit || bytes >= PAGE_BYTES) return { records, upTo: message.sequence };
    }
    return { records, upTo: this.upTo };
  }

  #recordOf(message: Kept): LogRecord | null {
    if (message.record !== undefined) return message.record;
    const record = this.#options.records.ofParts(message.subject, message.sequence, message);
    if (record === undefined) this.#options.counters.dropped.notMqtt++;
    // Most messages are read once: what is made for that is not kept.
    if (record === undefined || message.wasRead) message.record = record ?? null;
    message.wasRead = true;
    return record ?? null;
  }

  /** Where so many bytes will stand. */
  #reserve(bytes: number): number {
    if (this.#slab.length - this.#slabEnd < bytes) {
      this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes));
      this.#slabEnd = 0;
      this.bytes += this.#slab.length;
    }
    return this.#slabEnd;
  }

  #copy(chunk: Buffer, start: number, end: number): void {
    if (end - start > SHORT_BYTES) this.#slabEnd += chunk.copy(this.#slab, this.#slabEnd, start, end);
    else for (let at = start; at < end; at++) this.#slab[this.#slabEnd++] = chunk[at] ?? 0;
  }
}

/** Without the prefix of the log. */
export function subjectOf({ chunk, subject, subjectEnd }: DirectAnswer): string {
  return chunk.utf8Slice(subject, subjectEnd).slice(LOG_PREFIX.length);
}

/** Index of the first message whose position is above `after`. */
function firstBehind(messages: readonly Kept[], after: number): number {
  let [low, high] = [0, messages.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((messages[middle]?.sequence ?? 0) > after) high = middle;
    else low = middle + 1;
  }
  return low;
}
