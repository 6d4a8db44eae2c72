/** Leaves a service alone that does not answer: after some failures in a row nobody asks it for a while, then one tries. */
import type { Clock } from '../clock.ts';

export interface CircuitBreakerOptions {
  readonly clock: Clock;
  readonly failures: number;
  readonly pauseSeconds: number;
  /** It is left alone from now on, for this failure at last, or asked again. */
  readonly opened: (cause: unknown) => void;
  readonly closed: () => void;
}

export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  #failures = 0;
  /** Monotonic milliseconds; undefined: it is asked by everybody. */
  #triedFrom: number | undefined;
  #isTried = false;

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
  }

  /** Resolves to what `question` does. Undefined: it was not asked. A rejection is a failure. */
  async ask<T>(question: () => Promise<T>): Promise<T | undefined> {
    if (!this.#mayAsk()) return undefined;
    try {
      const answer = await question();
      this.#succeeded();
      return answer;
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  }

  #mayAsk(): boolean {
    if (this.#triedFrom === undefined) return true;
    if (this.#isTried || this.#options.clock.now() < this.#triedFrom) return false;
    this.#isTried = true;
    return true;
  }

  #succeeded(): void {
    const wasOpen = this.#triedFrom !== undefined;
    this.#failures = 0;
    this.#triedFrom = undefined;
    this.#isTried = false;
    if (wasOpen) this.#options.closed();
  }

  #failed(cause: unknown): void {
    const { clock, failures, opened, pauseSeconds } = this.#options;
    const wasOpen = this.#triedFrom !== undefined;
    this.#isTried = false;
    if (++this.#failures < failures) return;
    this.#triedFrom = clock.now() + pauseSeconds * 1000;
    if (!wasOpen) opened(cause);
  }
}
