/**
 * What all clients of a node together may have waiting for the log. Each client has a limit of its own (intake.ts), but a thousand of them, in front of
 * a NATS that stalls, would fill the memory: above the limit whoever publishes is not read, and then read again in turn.
 */

/** Somebody who can be held back; a {@link Connection}. */
export interface Publishing {
  /** Stops reading; undone by {@link goOn}. */
  holdBack(): void;
  goOn(): void;
}

/** About what a client brings when it is read again: a chunk of its socket. */
const CHUNK_BYTES = 64 * 1024;

export class IntakeBudget {
  readonly #limit: number;
  #held = 0;
  /** Freed below the limit since somebody was read again. */
  #freed = 0;
  /** In the order in which they were held back. */
  readonly #heldBack = new Set<Publishing>();

  /** Above `limit` bytes publishers are held back. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get heldBytes(): number {
    return this.#held;
  }

  /** `publisher` has brought so much; it is held back when that is too much. */
  take(bytes: number, publisher: Publishing): void {
    this.#held += bytes;
    if (this.#held <= this.#limit || this.#heldBack.has(publisher)) return;
    this.#heldBack.add(publisher);
    publisher.holdBack();
  }

  /** So much is stored, or belongs to a client that has gone. */
  free(bytes: number): void {
    this.#held -= bytes;
    if (this.#heldBack.size === 0 || this.#held > this.#limit) return;
    this.#freed += bytes;
    this.#goOn();
  }

  forget(publisher: Publishing): void {
    this.#heldBack.delete(publisher);
  }

  /** One for each chunk that was freed: all at once would bring a chunk each. */
  #goOn(): void {
    for (const publisher of this.#heldBack) {
      // Nobody else's messages will free anything: those that wait have to go on now.
      if (this.#freed < CHUNK_BYTES && this.#held > 0) return;
      this.#freed = Math.max(0, this.#freed - CHUNK_BYTES);
      this.#heldBack.delete(publisher);
      publisher.goOn();
    }
    this.#freed = 0;
  }
}
