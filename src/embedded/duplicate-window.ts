/**
 * Which message ids embedded/log.ts has stored lately, and where. Bounded by time, as in JetStream, and by number: beyond, the
 * oldest ids are forgotten before their time.
 */

const WINDOW_MILLISECONDS = 120_000;
const MAXIMUM_IDS = 200_000;

interface Entry {
  readonly sequence: number;
  readonly addedAt: number;
}

/** Ids in the order in which they came. */
export class DuplicateWindow {
  readonly #entries = new Map<string, Entry>();

  /** Ids remembered. */
  get size(): number {
    return this.#entries.size;
  }

  /** Position of the message that had this id; undefined = none within the window. `now`: monotonic milliseconds. */
  find(id: string, now: number): number | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined || isOver(entry, now) ? undefined : entry.sequence;
  }

  /** Remembers an id that {@link find} does not know. */
  add(id: string, sequence: number, now: number): void {
    // Deleted first, so that an id which comes again after the window stands at the end.
    this.#entries.delete(id);
    this.#entries.set(id, { sequence, addedAt: now });
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= MAXIMUM_IDS && !isOver(entry, now)) return;
      this.#entries.delete(oldest);
    }
  }
}

function isOver({ addedAt }: Entry, now: number): boolean {
  return now - addedAt >= WINDOW_MILLISECONDS;
}
