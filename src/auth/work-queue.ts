/**
 * Work that costs much, done a few at a time: what comes meanwhile waits in turn, and is turned away when too much waits. Used for hashes
 * of passwords and questions to a service.
 */

export interface WorkQueueOptions {
  /** Done at once. */
  readonly concurrency: number;
  /** That may wait. */
  readonly capacity: number;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting: Array<() => void> = [];
  #running = 0;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** What `work` resolves to; undefined when it was not done, for too much waits or nobody wants it any more when its turn has come. */
  async run<T>(work: () => Promise<T>, isGone: () => boolean): Promise<T | undefined> {
    if (this.#running < this.#options.concurrency) this.#running++;
    else if (this.#waiting.length >= this.#options.capacity) return undefined;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return isGone() ? undefined : await work();
    } finally {
      this.#next();
    }
  }

  /** Hands the place over: nobody else gets in between. */
  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next();
  }
}
