/**
 * A message from NATS: places in the chunk in which it came. Nothing is decoded or copied before somebody asks for it; the library makes
 * an object for its line, an array for the words of it, and a view for each.
 */
import { type Msg, type MsgHdrs, MsgHdrsImpl, type Payload, type PublishOptions, type ReviverFn } from 'nats';

declare global {
  /** In every Node since 0.x and missing in its types: what `toString` calls when it has looked up the encoding. */
  interface Buffer {
    latin1Slice(start: number, end: number): string;
    utf8Slice(start: number, end: number): string;
  }
}

/** Where a message stands in a chunk; ends are exclusive. */
export interface Places {
  readonly sid: number;
  readonly subject: number;
  readonly subjectEnd: number;
  /** Equal to {@link replyEnd} without a reply subject. */
  readonly reply: number;
  readonly replyEnd: number;
  /** Headers come first. */
  readonly content: number;
  readonly payload: number;
  readonly end: number;
}

export interface Publisher {
  publish(subject: string, payload?: Payload, options?: PublishOptions): void;
}

const ZERO = 0x30;
const NINE = 0x39;

export class WireMessage implements Msg {
  readonly #chunk: Buffer;
  readonly #places: Places;
  readonly #publisher: Publisher;
  #headers: MsgHdrs | undefined;

  constructor(chunk: Buffer, places: Places, publisher: Publisher) {
    this.#chunk = chunk;
    this.#places = places;
    this.#publisher = publisher;
  }

  get sid(): number {
    return this.#places.sid;
  }

  /** What it came in: nobody writes into it again. */
  get chunk(): Buffer {
    return this.#chunk;
  }

  get places(): Places {
    return this.#places;
  }

  /** With the U+FEFF that may lead it. [MQTT5 1.5.4-3] [MQTT311 1.5.3-3] */
  get subject(): string {
    return this.#chunk.utf8Slice(this.#places.subject, this.#places.subjectEnd);
  }

  /** Empty without one. */
  get reply(): string {
    return this.#chunk.utf8Slice(this.#places.reply, this.#places.replyEnd);
  }

  /** A view: it keeps the chunk that the message came in. */
  get data(): Uint8Array {
    const { end, payload } = this.#places;
    return new Uint8Array(this.#chunk.buffer, this.#chunk.byteOffset + payload, end - payload);
  }

  /** The header block as text, one character per byte; empty when there is none. */
  get headerBlock(): string {
    return this.#chunk.latin1Slice(this.#places.content, this.#places.payload);
  }

  get headers(): MsgHdrs {
    const { content, payload } = this.#places;
    this.#headers ??=
      content === payload ? new MsgHdrsImpl() : MsgHdrsImpl.decode(this.#chunk.subarray(content, payload));
    return this.#headers;
  }

  /** The number that the subject has behind so many characters, which must be ASCII; NaN for anything else. */
  numberAfter(prefixLength: number): number {
    const { subject, subjectEnd } = this.#places;
    let number = subject + prefixLength < subjectEnd ? 0 : Number.NaN;
    for (let at = subject + prefixLength; at < subjectEnd; at++) {
      const digit = this.#chunk[at] ?? 0;
      number = digit >= ZERO && digit <= NINE ? number * 10 + digit - ZERO : Number.NaN;
    }
    return number;
  }

  respond(payload?: Payload, options?: PublishOptions): boolean {
    const { reply } = this;
    if (reply === '') return false;
    this.#publisher.publish(reply, payload, options);
    return true;
  }

  string(): string {
    return this.#chunk.utf8Slice(this.#places.payload, this.#places.end);
  }

  json<T>(reviver?: ReviverFn): T {
    return JSON.parse(this.string(), reviver) as T; // as the library has it: the caller knows
  }
}
