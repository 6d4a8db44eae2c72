/**
 * Whether the node has more to do than it can: its event loop comes too late, or its memory is nearly full. New clients are sent away then, before
 * they cost anything, and those that are served are served on. It takes less to begin than to end, so that the node does not waver.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { CancelTimer, Clock } from '../clock.ts';

const TICK_MILLISECONDS = 100;
/** Resolution of the delay. */
const SAMPLE_MILLISECONDS = 20;
/** Their median decides: one long pause (a garbage collection, a machine that slept) is no overload. */
const TICKS = 5;
/** Of the limit: below it the node has recovered. */
const RECOVERED_DELAY = 0.5;
const RECOVERED_MEMORY = 0.95;
/** Of the heap that V8 allows itself: little is left before the process dies. */
const HEAP_SHARE = 0.9;

export type Shortage = 'eventLoop' | 'memory';

/** In bytes. */
export interface MemoryUse {
  readonly resident: number;
  readonly heapUsed: number;
  readonly heapLimit: number;
}

/** How late the event loop comes. */
export interface LoopDelay {
  /** The longest delay since it was last asked, in milliseconds. */
  longest(): number;
  stop(): void;
}

export interface OverloadOptions {
  /** 0 = not looked at. */
  readonly maximumDelayMilliseconds: number;
  /** Of resident memory; 0 = only the heap of V8 is looked at. */
  readonly maximumMemoryBytes: number;
  readonly clock: Clock;
  /** Both by default of this process. */
  readonly memoryUse?: () => MemoryUse;
  readonly loopDelay?: LoopDelay;
  /** Something has become short, or is no longer. */
  readonly changed: (shortage: Shortage, isShort: boolean, measured: number) => void;
}

export class Overload {
  readonly #options: OverloadOptions;
  readonly #short = new Set<Shortage>();
  readonly #memoryUse: () => MemoryUse;
  readonly #loopDelay: LoopDelay | undefined;
  readonly #cancel: CancelTimer;
  /** Of the last ticks, in milliseconds. */
  readonly #delays = new Array<number>(TICKS).fill(0);
  #ticks = 0;

  constructor(options: OverloadOptions) {
    this.#options = options;
    this.#memoryUse = options.memoryUse ?? processMemory;
    if (options.maximumDelayMilliseconds > 0) this.#loopDelay = options.loopDelay ?? processDelay();
    this.#cancel = options.clock.every(TICK_MILLISECONDS, () => this.#tick());
  }

  /** What is short, if anything. */
  get shortage(): Shortage | undefined {
    if (this.#short.size === 0) return undefined;
    return this.#short.has('memory') ? 'memory' : 'eventLoop';
  }

  stop(): void {
    this.#cancel();
    this.#loopDelay?.stop();
  }

  #tick(): void {
    if (this.#loopDelay !== undefined) this.#lookAtDelay(this.#loopDelay.longest());
    this.#ticks++;
    if (this.#ticks % TICKS === 0) this.#lookAtMemory();
  }

  #lookAtDelay(delay: number): void {
    const { maximumDelayMilliseconds: maximum } = this.#options;
    this.#delays[this.#ticks % TICKS] = delay;
    const median = [...this.#delays].sort((a, b) => a - b)[TICKS >> 1] ?? 0;
    const isShort = this.#short.has('eventLoop') ? median > maximum * RECOVERED_DELAY : median > maximum;
    this.#set('eventLoop', isShort, median);
  }

  #lookAtMemory(): void {
    const { maximumMemoryBytes: maximum } = this.#options;
    const { heapLimit, heapUsed, resident } = this.#memoryUse();
    const share = this.#short.has('memory') ? RECOVERED_MEMORY : 1;
    const isHeapFull = heapUsed > heapLimit * HEAP_SHARE * share;
    this.#set('memory', isHeapFull || (maximum > 0 && resident > maximum * share), resident);
  }

  #set(shortage: Shortage, isShort: boolean, measured: number): void {
    if (this.#short.has(shortage) === isShort) return;
    if (isShort) this.#short.add(shortage);
    else this.#short.delete(shortage);
    this.#options.changed(shortage, isShort, Math.round(measured));
  }
}

/** Of the machine's time, whatever clock the rest of the node has: what is measured is this process. */
function processDelay(): LoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: SAMPLE_MILLISECONDS });
  histogram.enable();
  const longest = (): number => {
    const milliseconds = histogram.max / 1e6 - SAMPLE_MILLISECONDS;
    histogram.reset();
    return Math.max(0, milliseconds);
  };
  return { longest, stop: () => histogram.disable() };
}

function processMemory(): MemoryUse {
  const { heap_size_limit: heapLimit, used_heap_size: heapUsed } = getHeapStatistics();
  return { resident: process.memoryUsage.rss(), heapUsed, heapLimit };
}
