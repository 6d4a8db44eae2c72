/**
 * The messages that were acknowledged last, a bounded number of them: two generations, of which the older one goes when the younger one is
 * full. A message is its position and the time at which it was stored: a log that was set back uses positions again. Used by
 * group-consumer.ts for each message.
 */
export class RecentMessages {
  readonly #perGeneration: number;
  #young = new Map<number, number>();
  #old = new Map<number, number>();

  /** Between `perGeneration` and twice as many are remembered. */
  constructor(perGeneration: number) {
    this.#perGeneration = perGeneration;
  }

  /** `stamp`: when the message was stored, any unit. */
  add(sequence: number, stamp: number): void {
    this.#young.set(sequence, stamp);
    if (this.#young.size < this.#perGeneration) return;
    this.#old = this.#young;
    this.#young = new Map();
  }

  has(sequence: number, stamp: number): boolean {
    return this.#young.get(sequence) === stamp || this.#old.get(sequence) === stamp;
  }
}
