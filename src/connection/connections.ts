/**
 * All connections of the node: the one sweep that finds those that have been silent for too long or whose credentials have expired, those
 * whose socket is paused until the bus takes messages again, and closing all of them, at once or in a drain.
 */
import type { CancelTimer, Clock } from '../clock.ts';
import type { MqttError, ReasonCode } from '../mqtt/reason.ts';
import type { Connection } from './connection.ts';
import { PauseReason } from './pause-reason.ts';

/** Keep alive and connect timeouts are noticed at most this much late. */
const SWEEP_MILLISECONDS = 500;
/** Publishers that one turn of the event loop lets go on (twice as many in the first one). Each may bring a chunk of its socket at once: these fill what `nats.maxInFlightBytes` is by default. */
const RESUMED_PER_TURN = 128;

export class Connections {
  readonly #all = new Set<Connection>();
  /** In the order in which they were paused. */
  readonly #paused = new Set<Connection>();
  /** The bus takes messages: those who are paused go on. */
  #mayResume = false;
  #isResumeDue = false;
  readonly #stopSweep: CancelTimer;
  readonly #clock: Clock;
  #connectedCount = 0;
  /** Why nobody is accepted any more. */
  #refusal: MqttError | undefined;
  /** Called when the last connection is gone. */
  #emptied: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#stopSweep = clock.every(SWEEP_MILLISECONDS, () => {
      const [now, wall] = [clock.now(), clock.wall()];
      for (const connection of this.#all) {
        connection.checkSilence(now);
        connection.checkExpiry(wall);
      }
    });
  }

  /** Network connections, those before CONNECT included. */
  get size(): number {
    return this.#all.size;
  }

  /** Connections whose CONNECT was accepted. */
  get connectedCount(): number {
    return this.#connectedCount;
  }

  /** All of them, as they are now. */
  snapshot(): Connection[] {
    return [...this.#all];
  }

  add(connection: Connection): void {
    this.#all.add(connection);
  }

  connected(): void {
    this.#connectedCount++;
  }

  remove(connection: Connection, wasConnected: boolean): void {
    this.#all.delete(connection);
    this.#paused.delete(connection);
    if (wasConnected) this.#connectedCount--;
    if (this.#all.size === 0) this.#emptied?.();
  }

  /** @throws MqttError in a drain: the client is refused with it */
  checkAccepts(): void {
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  /** The bus has enough: stops reading from a publisher until {@link resumeAll}, and from those whose turn has not come yet. */
  pause(connection: Connection): void {
    this.#mayResume = false;
    if (this.#paused.has(connection)) return;
    this.#paused.add(connection);
    connection.pauseReading(PauseReason.bus);
  }

  /** Some in each turn of the event loop, those that have waited longest first, until one of them is paused again. */
  resumeAll(): void {
    this.#mayResume = true;
    if (!this.#isResumeDue) this.#resumeSome();
  }

  #resumeSome(): void {
    let resumed = 0;
    for (const connection of this.#paused) {
      if (!this.#mayResume) return;
      if (resumed++ === RESUMED_PER_TURN) return this.#resumeLater();
      this.#paused.delete(connection);
      connection.resumeReading(PauseReason.bus);
    }
  }

  #resumeLater(): void {
    this.#isResumeDue = true;
    // Behind what this turn's have brought.
    setImmediate(() => {
      this.#isResumeDue = false;
      this.#resumeSome();
    });
  }

  /** Resolves when all sessions are written. */
  async closeAll(reason: ReasonCode): Promise<void> {
    const closing = [...this.#all];
    for (const connection of closing) connection.close(reason);
    await Promise.all(closing.map(({ ended }) => ended));
  }

  /**
   * Nobody is served from now on: clients are told so with `refusal`. Connections whose CONNECT has not come yet hear of it with their
   * CONNACK if it comes within `graceMilliseconds`. Resolves when that time is over or nobody is left, and all sessions are written.
   */
  async drain(refusal: MqttError, graceMilliseconds: number): Promise<void> {
    this.#refusal = refusal;
    const open = [...this.#all];
    for (const connection of open) if (connection.state !== 'connecting') connection.refuse(refusal);
    await Promise.all([...open.map(({ ended }) => ended), this.#empty(graceMilliseconds)]);
  }

  /** Resolves when no connection is left, or after `milliseconds`. */
  #empty(milliseconds: number): Promise<void> {
    if (this.#all.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#clock.after(milliseconds, resolve);
      this.#emptied = () => {
        cancel();
        resolve();
      };
    });
  }

  /** Ends the sweep; connections are closed before. */
  stop(): void {
    this.#stopSweep();
  }
}
