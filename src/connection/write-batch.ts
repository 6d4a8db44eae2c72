/** Joins what is to be written in one turn of the event loop: each connection gets one write per turn. */

export interface Flushable {
  flush(): void;
}

export class WriteBatch {
  #waiting: Flushable[] = [];
  #spare: Flushable[] = [];
  #isScheduled = false;

  /** Has `target` flushed before the turn ends; the caller adds itself once until then. */
  add(target: Flushable): void {
    this.#waiting.push(target);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.flush);
  }

  readonly flush = (): void => {
    this.#isScheduled = false;
    const batch = this.#waiting;
    this.#waiting = this.#spare;
    for (let i = 0; i < batch.length; i++) batch[i]?.flush();
    batch.length = 0;
    this.#spare = batch;
  };
}
