/** Time as the server sees it. Everything that waits or measures gets a Clock, so that tests can drive time by hand. */

/** Ends the timer it came from; a second call does nothing. */
export type CancelTimer = () => void;

export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Milliseconds since the epoch, for stamps that other nodes compare. */
  wall(): number;
  /** Calls `task` every `milliseconds`; a tick that comes while the last one still runs cannot happen, tasks are synchronous. */
  every(milliseconds: number, task: () => void): CancelTimer;
  /** Calls `task` once after `milliseconds`. */
  after(milliseconds: number, task: () => void): CancelTimer;
}

/** The machine's clock. Its timers never keep a process alive on their own. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  every(milliseconds, task) {
    const timer = setInterval(task, milliseconds).unref();
    return () => clearInterval(timer);
  },
  after(milliseconds, task) {
    const timer = setTimeout(task, milliseconds).unref();
    return () => clearTimeout(timer);
  },
};
