/**
 * Stretches of the log that were read for many sessions at once, kept for a moment: of clients that come back together the later ones would
 * have the same messages read again. What is stored behind a position never changes, unless the log itself is another one.
 */
import type { CancelTimer, Clock } from '../clock.ts';
import type { LogStretch } from './log-stretch.ts';

/** Since somebody last read it. */
const KEPT_MILLISECONDS = 2_000;
/** Of all stretches; one may be larger. */
const KEPT_BYTES = 16 * 1024 * 1024;

export class LogStretches {
  readonly #clock: Clock;
  /** With the time of the last use, the one used last at the end. */
  readonly #kept = new Map<LogStretch, number>();
  #bytes = 0;
  #forgotten = 0;
  #timer: CancelTimer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isEmpty(): boolean {
    return this.#kept.size === 0;
  }

  /** How often everything was forgotten: what was asked for before must not be kept after it. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** One that tells what is behind `after`; of several the one that reaches furthest. */
  find(after: number): LogStretch | undefined {
    let found: LogStretch | undefined;
    for (const stretch of this.#kept.keys())
      if (stretch.covers(after) && stretch.upTo > (found?.upTo ?? 0)) found = stretch;
    if (found !== undefined) this.#touch(found);
    return found;
  }

  keep(stretch: LogStretch): void {
    this.#bytes += stretch.bytes;
    this.#touch(stretch);
    for (const oldest of this.#kept.keys()) {
      if (this.#bytes <= KEPT_BYTES || oldest === stretch) break;
      this.#drop(oldest);
    }
    this.#timer ??= this.#clock.after(KEPT_MILLISECONDS, this.#sweep);
  }

  /** The log may be another one, or end before what was read. */
  forget(): void {
    this.#forgotten++;
    this.#timer?.();
    this.#timer = undefined;
    this.#kept.clear();
    this.#bytes = 0;
  }

  #touch(stretch: LogStretch): void {
    this.#kept.delete(stretch);
    this.#kept.set(stretch, this.#clock.now());
  }

  #drop(stretch: LogStretch): void {
    this.#kept.delete(stretch);
    this.#bytes -= stretch.bytes;
  }

  readonly #sweep = (): void => {
    const now = this.#clock.now();
    for (const [stretch, usedAt] of this.#kept) if (now - usedAt >= KEPT_MILLISECONDS) this.#drop(stretch);
    this.#timer = this.isEmpty ? undefined : this.#clock.after(KEPT_MILLISECONDS, this.#sweep);
  };
}
