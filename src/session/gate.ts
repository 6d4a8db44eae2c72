/**
 * Whether a session's client may get another message of QoS 1 or 2, and how many. It opens with CONNACK and closes with the connection; in
 * between it is shut by a full window, by a client that takes too little off its socket, and while what an earlier connection left open
 * is sent again. All parts of a session ask the same one.
 */
import type { Outbound } from './outbound.ts';
import type { Outlet } from './outlet.ts';

export interface GateOptions {
  readonly outbound: Outbound;
  readonly outlet: Outlet;
  /** Something of an earlier connection comes first. */
  readonly isResending: () => boolean;
}

export class Gate {
  /** Few free places are worth reading the log for too. */
  isHungry = false;
  readonly #options: GateOptions;
  #isStarted = false;
  #isClosed = false;

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** CONNACK is out. */
  open(): void {
    this.#isStarted = true;
  }

  close(): void {
    this.#isClosed = true;
  }

  get isStarted(): boolean {
    return this.#isStarted;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** One more may go out now. */
  get mayDeliver(): boolean {
    return this.#isPassable && this.#options.outbound.room > 0;
  }

  /** Messages that may go out now. */
  get room(): number {
    return this.#isPassable ? Math.max(0, this.#options.outbound.room) : 0;
  }

  /** Free places; 0 when they are fewer than half of the window and fewer than `enough`. */
  roomFor(enough: number): number {
    if (!this.#isPassable) return 0;
    const { capacity, inFlight, room } = this.#options.outbound;
    // Reading the log for every single free place would multiply the reads; once a second it is worth it, for a client that works on
    // the rest of its window for long.
    return room >= Math.min(capacity / 2, enough) || inFlight === 0 || this.isHungry ? room : 0;
  }

  get #isPassable(): boolean {
    return this.#isStarted && !this.#isClosed && !this.#options.isResending() && this.#options.outlet.hasRoom;
  }
}
