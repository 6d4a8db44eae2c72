/**
 * A map of things that can be made again, bounded by the characters of its keys: when full, everything is forgotten, which costs
 * making again what is still in use. Cheaper on every lookup than keeping an order, and a hostile peer gains nothing.
 */

/** What an entry costs beside the characters of its key. */
const ENTRY_CHARACTERS = 64;

export class BoundedCache<V> {
  readonly #capacity: number;
  readonly #entries = new Map<string, V>();
  #characters = 0;

  /** `capacity` in characters, keys and overhead together. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): V | undefined {
    return this.#entries.get(key);
  }

  /** Adds an entry that is not there yet. */
  add(key: string, value: V): void {
    this.#characters += key.length + ENTRY_CHARACTERS;
    if (this.#characters > this.#capacity) {
      this.#entries.clear();
      this.#characters = key.length + ENTRY_CHARACTERS;
    }
    this.#entries.set(key, value);
  }
}
