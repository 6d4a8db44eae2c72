/**
 * What has been found out about credentials, for a while: keys are keyed hashes, so that neither the credentials nor anything to guess
 * them by without the key of this process lies in memory. Bounded: the oldest entry makes room.
 */
import { createHmac, randomBytes } from 'node:crypto';

interface Entry<V> {
  readonly value: V;
  /** Monotonic milliseconds. */
  readonly until: number;
}

export class OpinionCache<V> {
  readonly #secret = randomBytes(32);
  readonly #capacity: number;
  readonly #entries = new Map<string, Entry<V>>();

  /** Number of entries; 0 = nothing is remembered. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Of parts that together decide; where one ends and the next begins makes a difference. */
  keyOf(...parts: ReadonlyArray<string | Buffer>): string {
    const hash = createHmac('sha256', this.#secret);
    for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
    return hash.digest('base64');
  }

  get(key: string, now: number): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.until > now) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  set(key: string, value: V, until: number): void {
    if (this.#capacity === 0) return;
    this.#entries.delete(key);
    if (this.#entries.size >= this.#capacity) {
      const [oldest] = this.#entries.keys();
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    this.#entries.set(key, { value, until });
  }
}
