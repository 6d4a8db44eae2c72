/**
 * A cursor over the bytes of one packet: the data representations of MQTT section 1.5 with their rules. Used by
 * validate.ts, connect.ts and properties.ts; every overrun or malformed value is an MqttError 0x81, nothing is read past `end`.
 */

import { isUtf8 } from 'node:buffer';
import { type MqttError, malformed } from './reason.ts';

/** Largest number of bytes a variable byte integer may take. */
const maxVarintBytes = 4;

/** Reads forward from `position`, never past `end`. */
export class Reader {
  readonly buffer: Buffer;
  position: number;
  readonly end: number;

  constructor(buffer: Buffer, position: number, end: number) {
    this.buffer = buffer;
    this.position = position;
    this.end = Math.min(end, buffer.length);
  }

  get isAtEnd(): boolean {
    return this.position >= this.end;
  }

  uint8(): number {
    return this.buffer[this.#take(1)] ?? 0;
  }

  uint16(): number {
    const at = this.#take(2);
    return ((this.buffer[at] ?? 0) << 8) | (this.buffer[at + 1] ?? 0);
  }

  uint32(): number {
    return this.buffer.readUInt32BE(this.#take(4));
  }

  /** Variable byte integer: at most four bytes and no more of them than needed. [MQTT5 1.5.5-1] */
  varint(): number {
    let value = 0;
    for (let count = 0; count < maxVarintBytes; count++) {
      const byte = this.uint8();
      value |= (byte & 0x7f) << (7 * count);
      if (byte < 0x80) {
        if (byte === 0 && count > 0) throw malformed('variable byte integer longer than needed');
        return value;
      }
    }
    throw malformed('variable byte integer of more than four bytes');
  }

  /** UTF-8 string; a leading U+FEFF is kept. [MQTT5 1.5.4-3] [MQTT311 1.5.3-3] */
  string(): string {
    const start = this.position + 2;
    this.skipString();
    return this.buffer.toString('utf8', start, this.position);
  }

  /** Checks a UTF-8 string and passes over it; returns its length in bytes, so it starts at `position - length`. */
  skipString(): number {
    const length = this.uint16();
    const start = this.#take(length);
    const error = stringError(this.buffer, start, start + length);
    if (error !== undefined) throw error;
    return length;
  }

  /** A copy. */
  binary(): Buffer {
    const start = this.position + 2;
    this.skipBinary();
    return Buffer.from(this.buffer.subarray(start, this.position));
  }

  skipBinary(): void {
    this.#take(this.uint16());
  }

  /** The part of `length` bytes from here as a reader of its own; this reader continues behind it. */
  section(length: number): Reader {
    const start = this.#take(length);
    return new Reader(this.buffer, start, start + length);
  }

  /** To be called behind the last field: bytes left over make a packet malformed. */
  expectEnd(): void {
    if (!this.isAtEnd) throw malformed('bytes after the last field');
  }

  #take(length: number): number {
    const start = this.position;
    if (start + length > this.end) throw malformed('field runs past its end');
    this.position = start + length;
    return start;
  }
}

/** One pass for plain ASCII, which nearly all strings are; the full check only behind the first other byte. */
function stringError(buffer: Buffer, start: number, end: number): MqttError | undefined {
  let isAscii = true;
  for (let i = start; i < end; i++) {
    const byte = buffer[i] ?? 0;
    // [MQTT5 1.5.4-2] [MQTT311 1.5.3-2]
    if (byte === 0) return malformed('string contains U+0000');
    if (byte >= 0x80) isAscii = false;
  }
  // Refuses surrogates as well. [MQTT5 1.5.4-1] [MQTT311 1.5.3-1]
  if (!isAscii && !isUtf8(buffer.subarray(start, end))) return malformed('string is not well-formed UTF-8');
  return undefined;
}
