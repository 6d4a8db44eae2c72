/**
 * Wills of nodes that are dead: one of the living nodes looks about once a second which owners of wills hold no lease any more, and sees
 * to their wills. If it dies meanwhile another one goes on; if two do it at once, each will is published once all the same.
 */
import type { NodeLease, WillStore } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Wills } from './wills.ts';

const TASK = 'wills';
const LOOK_MILLISECONDS = 1_000;
/** A node that leads and dies is followed by another one after this time. */
const LEAD_SECONDS = 5;
/** Until a dead owner is looked at again of which something was found, or nothing, and whose wills all wait for their time. */
const AGAIN_MILLISECONDS = 2_000;
const ALL_WAIT_MILLISECONDS = 60_000;
/** A dead owner is remembered at least this long: what it had sent last may still arrive. */
const REMEMBERED_MILLISECONDS = 30_000;

export interface WillHandoverOptions {
  readonly wills: Wills;
  readonly store: WillStore;
  readonly lease: NodeLease;
  readonly clock: Clock;
  /** Milliseconds since the epoch, by the log's clock. */
  readonly now: () => number;
  /** A node is found dead. */
  readonly died: (owner: string) => void;
  /** `count` wills of a dead node are done with, `seconds` after it was found dead. */
  readonly takenOver: (owner: string, count: number, seconds: number) => void;
  readonly failed: (error: unknown) => void;
}

interface DeadOwner {
  /** When it was found, by the log's clock. */
  readonly since: number;
  nextLook: number;
}

/** Starts looking; the result ends it. */
export function handOverWills(options: WillHandoverOptions): CancelTimer {
  const handover = new WillHandover(options);
  return options.clock.every(LOOK_MILLISECONDS, () => handover.look());
}

class WillHandover {
  readonly #options: WillHandoverOptions;
  readonly #dead = new Map<string, DeadOwner>();
  #leads = false;
  #isAsking = false;
  #isLooking = false;

  constructor(options: WillHandoverOptions) {
    this.#options = options;
  }

  look(): void {
    const { failed } = this.#options;
    if (!this.#isAsking) {
      this.#isAsking = true;
      this.#askLead()
        .catch(failed)
        .finally(() => {
          this.#isAsking = false;
        });
    }
    if (!this.#goesOn() || this.#isLooking) return;
    this.#isLooking = true;
    this.#lookOnce()
      .catch(failed)
      .finally(() => {
        this.#isLooking = false;
      });
  }

  /** Apart from the work, which may take longer than the term. */
  async #askLead(): Promise<void> {
    const { lease } = this.#options;
    this.#leads = (this.#leads || lease.isSettled) && (await lease.lead(TASK, LEAD_SECONDS).catch(() => false));
    if (!this.#leads) this.#dead.clear();
  }

  /** A node that was cut off itself must not judge others. */
  readonly #goesOn = (): boolean => this.#leads && this.#options.lease.isSettled;

  async #lookOnce(): Promise<void> {
    const owners = await this.#options.store.owners();
    for (const owner of this.#dead.keys()) if (!owners.includes(owner)) this.#dead.delete(owner);
    await Promise.all(owners.map((owner) => this.#judge(owner)));
    for (const [owner, dead] of this.#dead) {
      if (!this.#goesOn()) return;
      if (dead.nextLook <= this.#options.now()) await this.#takeOver(owner, dead);
    }
  }

  async #judge(owner: string): Promise<void> {
    const { died, lease, now } = this.#options;
    if (owner === lease.incarnation || this.#dead.has(owner) || (await lease.isAlive(owner))) return;
    // Asked again after the answer: it may have taken long.
    if (!this.#goesOn()) return;
    this.#dead.set(owner, { since: now(), nextLook: 0 });
    died(owner);
  }

  async #takeOver(owner: string, dead: DeadOwner): Promise<void> {
    const { now, store, takenOver, wills } = this.#options;
    const { again, settled, waiting } = await wills.look(owner, dead.since, this.#goesOn);
    const isFound = settled + waiting > 0;
    if (settled > 0) takenOver(owner, settled, (now() - dead.since) / 1000);
    const pause = settled === 0 && waiting > 0 ? ALL_WAIT_MILLISECONDS : AGAIN_MILLISECONDS;
    dead.nextLook = Math.min(now() + pause, Math.max(again, now() + LOOK_MILLISECONDS));
    if (isFound || now() - dead.since < REMEMBERED_MILLISECONDS || !this.#goesOn()) return;
    if (!(await store.isEmpty(owner))) return;
    await store.unmark(owner);
    this.#dead.delete(owner);
  }
}
