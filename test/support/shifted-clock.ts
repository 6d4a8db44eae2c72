/** The machine's clock, which a test can put forward: what counts seconds sees them pass, timers run as ever. */
import { type CancelTimer, type Clock, systemClock } from '../../src/clock.ts';

export class ShiftedClock implements Clock {
  #shift = 0;

  /** Seconds pass at once. Connections without keep alive notice nothing. */
  pass(seconds: number): void {
    this.#shift += seconds * 1_000;
  }

  now(): number {
    return systemClock.now() + this.#shift;
  }

  wall(): number {
    return systemClock.wall() + this.#shift;
  }

  every(milliseconds: number, task: () => void): CancelTimer {
    return systemClock.every(milliseconds, task);
  }

  after(milliseconds: number, task: () => void): CancelTimer {
    return systemClock.after(milliseconds, task);
  }
}
