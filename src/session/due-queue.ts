/** Wills that wait for their time: a heap by time, bounded, one place per owner and client. Used by due-wills.ts. */

export interface WaitingWill {
  readonly owner: string;
  readonly clientId: string;
  /** {@link WillRecord.id}: another will of the same client is not meant. */
  readonly id: string;
  /** When to look at it again: milliseconds since the epoch, by the log's clock. */
  readonly at: number;
  /** When it is to be published, unless its record knows better. */
  readonly dueAt: number;
  /** It is to be removed instead: its client has said goodbye. */
  readonly isDiscarded: boolean;
}

export class DueQueue {
  readonly #maximum: number;
  readonly #current = new Map<string, WaitingWill>();
  /** Each is due no later than the two at twice its index (+ 1, + 2); those that were replaced or cancelled are still in it. */
  #heap: WaitingWill[] = [];

  constructor(maximum: number) {
    this.#maximum = maximum;
  }

  get size(): number {
    return this.#current.size;
  }

  /** False when there is no room. */
  add(will: WaitingWill): boolean {
    const key = keyOf(will.owner, will.clientId);
    if (this.#current.size >= this.#maximum && !this.#current.has(key)) return false;
    this.#current.set(key, will);
    if (this.#heap.length >= this.#maximum * 2) this.#rebuild();
    else this.#push(will);
    return true;
  }

  cancel(owner: string, clientId: string): void {
    this.#current.delete(keyOf(owner, clientId));
  }

  /** Takes out at most `limit` whose time has come, earliest first. */
  take(now: number, limit: number): WaitingWill[] {
    const taken: WaitingWill[] = [];
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      if (taken.length === limit) break;
      this.#pop();
      const key = keyOf(first.owner, first.clientId);
      if (this.#current.get(key) !== first) continue;
      this.#current.delete(key);
      taken.push(first);
    }
    return taken;
  }

  clear(): void {
    this.#current.clear();
    this.#heap = [];
  }

  #rebuild(): void {
    // A sorted array is a heap.
    this.#heap = [...this.#current.values()].sort((a, b) => a.at - b.at);
  }

  #push(will: WaitingWill): void {
    const heap = this.#heap;
    let index = heap.push(will) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || above.at <= will.at) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = will;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      const left = index * 2 + 1;
      const [first, second] = [heap[left], heap[left + 1]];
      if (first === undefined) break;
      const child = second !== undefined && second.at < first.at ? left + 1 : left;
      const below = heap[child];
      if (below === undefined || below.at >= last.at) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}

function keyOf(owner: string, clientId: string): string {
  return `${owner} ${clientId}`;
}
