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
  /** {@link #goOn} will look again in the next turn of the event loop. */
  #isDue = false;

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
    // Nobody else's messages will free anything: as many go on as have room, the others behind what those bring.
    if (this.#held === 0) this.#freed = Math.max(this.#limit, CHUNK_BYTES);
    for (const publisher of this.#heldBack) {
      if (this.#freed < CHUNK_BYTES) break;
      this.#freed -= CHUNK_BYTES;
      this.#heldBack.delete(publisher);
      publisher.goOn();
    }
    if (this.#heldBack.size === 0) this.#freed = 0;
    else if (this.#held === 0) this.#goOnLater();
  }

  /** They may have brought nothing. */
  #goOnLater(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      if (this.#held === 0) this.#goOn();
    });
  }
}
