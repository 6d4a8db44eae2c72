/**
 * Byte chunks → whole packets. One Framer per connection; connection.ts appends each chunk and asks for packets until
 * there is none. A packet that lies within one chunk is never copied; the size limit holds before anything is buffered.
 */
import { MqttError, malformed, Reason } from './reason.ts';

const nothing = Buffer.alloc(0);
/** Fixed header byte and up to four length bytes. */
const LONGEST_HEADER = 5;

export class Framer {
  /** Bytes that the current packet lies in: valid until the next call of {@link append}. */
  buffer: Buffer = nothing;
  /** First byte of the fixed header: packet type and flags. */
  header = 0;
  /** Offsets of the current packet in {@link buffer}. */
  start = 0;
  bodyStart = 0;
  end = 0;
  /** Largest packet accepted, fixed header included. */
  maximumPacketSize: number;
  /** Set once the client is known to speak MQTT 5: Remaining Length has the fewest bytes. MQTT 3.x has no such rule. [MQTT5 1.5.5-1] */
  refusesPadding = false;
  /** A packet was above the limit. */
  hasRefused = false;
  #position = 0;
  /** Memory for a packet that is not complete yet, how much of it is filled, and how many bytes the packet needs. */
  #held: Buffer | undefined;
  #heldBytes = 0;
  #wantedBytes = 0;

  constructor(maximumPacketSize: number) {
    this.maximumPacketSize = maximumPacketSize;
  }

  /** Bytes appended and not yet returned as packets. */
  get pendingBytes(): number {
    return this.#heldBytes + this.buffer.length - this.#position;
  }

  /** Adds the bytes of one read. All packets of the earlier ones have been taken. */
  append(chunk: Buffer): void {
    if (this.#held === undefined) {
      const rest = this.buffer.length - this.#position;
      this.buffer = rest === 0 ? chunk : Buffer.concat([this.buffer.subarray(this.#position), chunk]);
      this.#position = 0;
      return;
    }
    const held = this.#grow(this.#held, chunk.length);
    held.set(chunk, this.#heldBytes);
    this.#heldBytes += chunk.length;
    if (this.#heldBytes < this.#wantedBytes) return;
    this.buffer = held.subarray(0, this.#heldBytes);
    this.#position = 0;
    this.#held = undefined;
    this.#heldBytes = 0;
  }

  /** Doubles the memory of an incomplete packet as its bytes come in: a claimed length alone costs nothing. */
  #grow(held: Buffer, extra: number): Buffer {
    const needed = this.#heldBytes + extra;
    if (needed <= held.length) return held;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(held.length * 2, this.#wantedBytes)));
    grown.set(held.subarray(0, this.#heldBytes));
    this.#held = grown;
    return grown;
  }

  /**
   * Moves to the next whole packet; false when more bytes are needed.
   * @throws MqttError 0x81 for a length of five bytes or, if refused, more bytes than needed, 0x95 for a packet above the limit
   */
  next(): boolean {
    const { buffer } = this;
    const start = this.#position;
    if (buffer.length - start < 2) return this.#wait(2);
    let length = buffer[start + 1] ?? 0;
    let bodyStart = start + 2;
    if (length > 127) {
      const end = this.#endOfLength(start + 1);
      if (end === 0) return this.#wait(buffer.length - start + 1);
      length = this.#readLength(start + 1, end);
      bodyStart = end;
    }
    const end = bodyStart + length;
    if (end - start > this.maximumPacketSize) {
      this.hasRefused = true;
      throw new MqttError(
        Reason.packetTooLarge,
        `packet of ${end - start} bytes, at most ${this.maximumPacketSize} are accepted`,
      );
    }
    if (end > buffer.length) return this.#wait(end - start);
    this.header = buffer[start] ?? 0;
    this.start = start;
    this.bodyStart = bodyStart;
    this.end = end;
    this.#position = end;
    return true;
  }

  /** Whether the Remaining Length of the current packet has more bytes than needed. */
  get isPadded(): boolean {
    return this.bodyStart - this.start > 2 && this.buffer[this.bodyStart - 1] === 0;
  }

  /** Offset behind the Remaining Length that starts at `from`, or 0 when it is not complete. [MQTT5 1.5.5-1] */
  #endOfLength(from: number): number {
    const limit = Math.min(from + LONGEST_HEADER - 1, this.buffer.length);
    for (let i = from; i < limit; i++) {
      if ((this.buffer[i] ?? 0) < 128) return i + 1;
    }
    if (limit === from + LONGEST_HEADER - 1) throw malformed('Remaining Length of more than four bytes');
    return 0;
  }

  #readLength(from: number, end: number): number {
    if (this.refusesPadding && this.buffer[end - 1] === 0) throw paddedLength();
    let length = 0;
    for (let i = end - 1; i >= from; i--) length = length * 128 + ((this.buffer[i] ?? 0) & 127);
    return length;
  }

  /** Keeps a copy of what is left of the chunk until `wanted` bytes are there. */
  #wait(wanted: number): false {
    const rest = this.buffer.subarray(this.#position);
    this.buffer = nothing;
    this.#position = 0;
    if (rest.length === 0) return false;
    this.#held = Buffer.from(rest);
    this.#heldBytes = rest.length;
    this.#wantedBytes = wanted;
    return false;
  }
}

/** A Remaining Length that takes more bytes than it needs. [MQTT5 1.5.5-1] */
export function paddedLength(): MqttError {
  return malformed('Remaining Length encoded in more bytes than needed');
}
