/**
 * What waits to be written to nats-server: protocol lines and payloads, copied one behind the other into large chunks. The library keeps
 * an array of small ones and copies them together for each write.
 */

const CHUNK_BYTES = 64 * 1024;
/** Of a string without lone surrogates and with them; what each UTF-16 unit takes at most. */
const BYTES_PER_UNIT = 3;
/** Up to this length a loop is faster than the call. */
const SHORT_BYTES = 32;
const CR = 0x0d;
const LF = 0x0a;

export class Outgoing {
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  /** The unwritten part of the chunk; what is before it may still be on its way to the kernel. */
  #start = 0;
  #end = 0;

  /** Bytes that wait. */
  size(): number {
    return this.#end - this.#start;
  }

  text(text: string): void {
    this.#reserve(text.length * BYTES_PER_UNIT);
    this.#end += this.#chunk.write(text, this.#end);
  }

  bytes(bytes: Uint8Array): void {
    const { length } = bytes;
    this.#reserve(length);
    if (length > SHORT_BYTES) this.#chunk.set(bytes, this.#end);
    else for (let i = 0; i < length; i++) this.#chunk[this.#end + i] = bytes[i] ?? 0;
    this.#end += length;
  }

  lineEnd(): void {
    this.#reserve(2);
    this.#chunk[this.#end++] = CR;
    this.#chunk[this.#end++] = LF;
  }

  /** What waits; it stays as it is, so that it can be written without another copy. */
  take(): Uint8Array {
    const taken = this.#chunk.subarray(this.#start, this.#end);
    this.#start = this.#end;
    return taken;
  }

  /** Forgets what waits: it was for a connection that is lost. */
  reset(): void {
    this.#start = this.#end;
  }

  #reserve(bytes: number): void {
    if (this.#chunk.length - this.#end >= bytes) return;
    const waiting = this.#chunk.subarray(this.#start, this.#end);
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, 2 * (waiting.length + bytes)));
    this.#chunk.set(waiting);
    this.#start = 0;
    this.#end = waiting.length;
  }
}
