/** A clock that stands until a test moves it; periodic tasks run while it moves. */
import type { CancelTimer, Clock } from '../../../src/clock.ts';

interface Periodic {
  readonly milliseconds: number;
  readonly task: () => void;
  dueAt: number;
}

export class ManualClock implements Clock {
  #now = 1_000;
  readonly #periodic = new Set<Periodic>();

  now(): number {
    return this.#now;
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now;
  }

  /** Periodic tasks that were not cancelled. */
  get taskCount(): number {
    return this.#periodic.size;
  }

  every(milliseconds: number, task: () => void): CancelTimer {
    const periodic = { milliseconds, task, dueAt: this.#now + milliseconds };
    this.#periodic.add(periodic);
    return () => this.#periodic.delete(periodic);
  }

  after(milliseconds: number, task: () => void): CancelTimer {
    const cancel = this.every(milliseconds, () => {
      cancel();
      task();
    });
    return cancel;
  }

  /** Moves time on; each task that falls due runs once, at the end. */
  pass(seconds: number): void {
    this.#now += seconds * 1_000;
    for (const periodic of this.#periodic) {
      if (periodic.dueAt > this.#now) continue;
      periodic.dueAt = this.#now + periodic.milliseconds;
      periodic.task();
    }
  }
}
