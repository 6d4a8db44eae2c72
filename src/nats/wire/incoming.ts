/**
 * What nats-server writes, taken apart: messages in one pass over their line, without an object for any word of it; the rare rest as
 * whole lines. Chunks may end anywhere.
 */
import type { Places } from './message.ts';

export interface IncomingEvents {
  /** The chunk stays as it is: nobody writes into it again. */
  message(chunk: Buffer, places: Places): void;
  /** INFO, -ERR, PING, PONG, +OK, without the line end. */
  line(line: string): void;
}

const SPACE = 0x20;
const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;
const NINE = 9;
const LETTER_M = 0x4d;
const LETTER_H = 0x48;
const LINE_END_BYTES = 2;
/** No line of nats-server's comes near: an INFO lists some servers. */
const LONGEST_LINE = 1024 * 1024;

export class Incoming {
  readonly #events: IncomingEvents;
  /** Of an operation that is not complete, with all its bytes so far. */
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  /** How many it needs; 0 while that is not known. */
  #needed = 0;
  /** Between the numbers of a line that is read from behind. */
  #cursor = 0;

  constructor(events: IncomingEvents) {
    this.#events = events;
  }

  /**
   * Hands out all operations that are complete.
   * @throws Error for what no nats-server writes
   */
  parse(bytes: Uint8Array): void {
    const chunk = this.#completed(bytes);
    if (chunk === undefined) return;
    let at = 0;
    while (at < chunk.length) {
      const first = chunk[at];
      const end = first === LETTER_M || first === LETTER_H ? this.#message(chunk, at) : this.#line(chunk, at);
      if (end < 0) return this.#keep(chunk.subarray(at));
      at = end;
    }
  }

  /** A new connection: nothing of the old one is continued. */
  reset(): void {
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#needed = 0;
  }

  /** The chunk with what was kept before it; undefined while too little has come. */
  #completed(bytes: Uint8Array): Buffer | undefined {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.#pieceBytes === 0) return chunk;
    this.#pieces.push(chunk);
    this.#pieceBytes += chunk.length;
    if (this.#pieceBytes < this.#needed) return undefined;
    const whole = Buffer.concat(this.#pieces, this.#pieceBytes);
    this.reset();
    return whole;
  }

  #keep(rest: Buffer): void {
    if (this.#needed === 0 && rest.length > LONGEST_LINE) throw new Error('NATS sent a line without an end');
    this.#pieces.push(rest);
    this.#pieceBytes = rest.length;
  }

  /** Where the operation ends; -1 while it is not complete. */
  #line(chunk: Buffer, at: number): number {
    const lineFeed = chunk.indexOf(LF, at);
    if (lineFeed < 0) return -1;
    const end = chunk[lineFeed - 1] === CR && lineFeed > at ? lineFeed - 1 : lineFeed;
    if (end > at) this.#events.line(chunk.utf8Slice(at, end));
    return lineFeed + 1;
  }

  /** `MSG subject sid [reply] bytes` or `HMSG subject sid [reply] header-bytes bytes`; otherwise as {@link #line}. */
  #message(chunk: Buffer, at: number): number {
    const { length } = chunk;
    const hasHeaders = chunk[at] === LETTER_H;
    const subject = at + (hasHeaders ? 5 : 4);
    let cursor = subject;
    while (cursor < length && chunk[cursor] !== SPACE) cursor++;
    const subjectEnd = cursor++;
    let sid = 0;
    for (let digit = digitAt(chunk, cursor); digit >= 0; digit = digitAt(chunk, ++cursor)) sid = sid * 10 + digit;
    const reply = cursor + 1;
    while (cursor < length && chunk[cursor] !== CR) cursor++;
    const content = cursor + LINE_END_BYTES;
    if (content > length) return -1;
    // The numbers stand last: read from behind, so that a reply subject need not be told from them.
    this.#cursor = cursor;
    const size = this.#numberBefore(chunk);
    const headerSize = hasHeaders ? this.#numberBefore(chunk) : 0;
    const replyEnd = Math.max(reply, this.#cursor);
    const end = content + size;
    if (!(sid > 0 && headerSize <= size && this.#cursor >= reply - 1))
      throw new Error('NATS sent a message whose line cannot be read');
    if (end + LINE_END_BYTES > length) {
      this.#needed = end + LINE_END_BYTES - at;
      return -1;
    }
    const payload = content + headerSize;
    this.#events.message(chunk, { sid, subject, subjectEnd, reply, replyEnd, content, payload, end });
    return end + LINE_END_BYTES;
  }

  /** The number that ends at the cursor, which is then at the space before it; NaN for anything else. */
  #numberBefore(chunk: Buffer): number {
    let number = this.#cursor > 0 && chunk[this.#cursor - 1] !== SPACE ? 0 : Number.NaN;
    for (let place = 1; this.#cursor > 0 && chunk[this.#cursor - 1] !== SPACE; place *= 10) {
      const digit = digitAt(chunk, --this.#cursor);
      number = digit >= 0 ? number + digit * place : Number.NaN;
    }
    this.#cursor--;
    return number;
  }
}

/** -1 for what is no digit. */
function digitAt(chunk: Buffer, at: number): number {
  const digit = (chunk[at] ?? 0) - ZERO;
  return digit >= 0 && digit <= NINE ? digit : -1;
}
