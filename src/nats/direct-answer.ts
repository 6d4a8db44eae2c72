/**
 * What the server has written behind a message of a batched direct get, read byte by byte from the end of its header block: no string is
 * made of what nobody wants to know. A publisher may have copied such lines, so of each name only the last one counts.
 */
import type { Msg } from 'nats';
import { wired } from './raw-message.ts';

const LF = 0x0a;
const CR = 0x0d;
const ZERO = 0x30;
const NINE = 0x39;
const LINE_END_BYTES = 2;
/** The status line of a message is this and a line end; one that ends a batch has a code in between. */
const STATUS_BYTES = 'NATS/1.0'.length;

const STREAM = Buffer.from('Nats-Stream: ');
const SUBJECT = Buffer.from('Nats-Subject: ');
const SEQUENCE = Buffer.from('Nats-Sequence: ');
const TIME = Buffer.from('Nats-Time-Stamp: ');
const PREVIOUS = Buffer.from('Nats-Last-Sequence: ');

/** What belongs to a stored message, as places in a chunk; ends are exclusive. */
export interface MessageParts {
  readonly chunk: Buffer;
  /** The status line and the lines of the publisher. */
  readonly start: number;
  readonly linesEnd: number;
  /** When it was stored, as text. */
  readonly time: number;
  readonly timeEnd: number;
  readonly payload: number;
  readonly end: number;
}

export interface DirectAnswer extends MessageParts {
  readonly subject: number;
  readonly subjectEnd: number;
  /** NaN when the server does not say. */
  readonly sequence: number;
  /** Position of the answer before it in its batch; undefined when the server does not say. */
  readonly previous: number | undefined;
}

const answer: { -readonly [Part in keyof DirectAnswer]: DirectAnswer[Part] } = {
  chunk: Buffer.alloc(0),
  start: 0,
  linesEnd: 0,
  subject: 0,
  subjectEnd: 0,
  time: 0,
  timeEnd: 0,
  payload: 0,
  end: 0,
  sequence: Number.NaN,
  previous: undefined,
};

/** Undefined for what ends a batch and is no message. One object serves all calls: it is good until the next one. */
export function readDirectAnswer(message: Msg): DirectAnswer | undefined {
  const { chunk, places } = wired(message);
  const { content, end, payload } = places;
  if (payload === end && chunk[content + STATUS_BYTES] !== CR) return undefined;
  answer.chunk = chunk;
  answer.start = content;
  answer.payload = payload;
  answer.end = end;
  answer.linesEnd = payload;
  answer.subject = answer.subjectEnd = answer.time = answer.timeEnd = 0;
  answer.sequence = Number.NaN;
  answer.previous = undefined;
  readLines(chunk, content, payload - LINE_END_BYTES);
  return answer;
}

/** From behind, up to the line with which the server begins its own. */
function readLines(chunk: Buffer, content: number, behind: number): void {
  for (let end = behind; end > content; ) {
    let start = end - LINE_END_BYTES;
    while (start > content && chunk[start - 1] !== LF) start--;
    if (isLine(chunk, start, STREAM)) {
      answer.linesEnd = start;
      return;
    }
    readLine(chunk, start, end - LINE_END_BYTES);
    end = start;
  }
}

function readLine(chunk: Buffer, start: number, end: number): void {
  if (answer.previous === undefined && isLine(chunk, start, PREVIOUS)) {
    answer.previous = numberIn(chunk, start + PREVIOUS.length, end);
  } else if (answer.timeEnd === 0 && isLine(chunk, start, TIME)) {
    answer.time = start + TIME.length;
    answer.timeEnd = end;
  } else if (Number.isNaN(answer.sequence) && isLine(chunk, start, SEQUENCE)) {
    answer.sequence = numberIn(chunk, start + SEQUENCE.length, end);
  } else if (answer.subjectEnd === 0 && isLine(chunk, start, SUBJECT)) {
    answer.subject = start + SUBJECT.length;
    answer.subjectEnd = end;
  }
}

/** Names differ in the sixth character or soon after it. */
function isLine(chunk: Buffer, start: number, name: Buffer): boolean {
  for (let i = 5; i < name.length; i++) if (chunk[start + i] !== name[i]) return false;
  for (let i = 0; i < 5; i++) if (chunk[start + i] !== name[i]) return false;
  return true;
}

/** NaN for anything but digits. */
function numberIn(chunk: Buffer, start: number, end: number): number {
  let number = start < end ? 0 : Number.NaN;
  for (let at = start; at < end; at++) {
    const digit = chunk[at] ?? 0;
    number = digit >= ZERO && digit <= NINE ? number * 10 + digit - ZERO : Number.NaN;
  }
  return number;
}
