/**
 * Wills whose connection has ended: they wait here for their time and are published. Those of this node come from wills.ts, those of dead
 * nodes from will-handover.ts. What waits is a few words per will; the will itself is read again when it is due. What finds no room
 * is looked for in the store when the first of it is due.
 */
import type { CancelTimer } from '../clock.ts';
import { DueQueue, type WaitingWill } from './due-queue.ts';
import type { FoundWill, WillPublication, WillPublicationOptions } from './will-publication.ts';
import { decodeWill, delayOf, encodeWill, type WillRecord } from './will-record.ts';

const SWEEP_MILLISECONDS = 250;
/** Wills that are worked on at the same time. */
const AT_ONCE = 256;
const DEFAULT_MAXIMUM_WAITING = 100_000;
/** Until a will is looked at again that nobody has answered for, or that another node is publishing. */
const RETRY_MILLISECONDS = 1_000;
/** Until others get their turn beside one that is being published. */
const PATIENCE_MILLISECONDS = 5_000;
const NEVER = Number.POSITIVE_INFINITY;

export interface DueWillsOptions extends WillPublicationOptions {
  readonly publication: WillPublication;
  /** Wills that may wait in memory. */
  readonly maximumWaiting?: number;
}

/** What a look at an owner's wills has found. */
export interface Look {
  /** Published, or seen to by somebody else. */
  readonly settled: number;
  readonly waiting: number;
  /** When to look again: for what nobody answered for and what found no room. */
  readonly again: number;
}

/** settled: nothing is left to do; waiting: in the queue; a number: no room, look for it at that time. */
type Outcome = 'settled' | 'waiting' | number;

export class DueWills {
  readonly #options: DueWillsOptions;
  readonly #queue: DueQueue;
  readonly #stopSweep: CancelTimer;
  /** Ids of wills that are being published. */
  readonly #publishing = new Set<string>();
  #isSweeping = false;
  /** When to look for wills of this node that found no room. */
  #lookAt = NEVER;

  constructor(options: DueWillsOptions) {
    this.#options = options;
    this.#queue = new DueQueue(options.maximumWaiting ?? DEFAULT_MAXIMUM_WAITING);
    this.#stopSweep = options.clock.every(SWEEP_MILLISECONDS, () => this.#sweep());
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** A will of this node that waits. */
  add(will: WaitingWill): void {
    if (!this.#queue.add(will)) this.#lookAt = Math.min(this.#lookAt, will.at);
  }

  cancel(owner: string, clientId: string): void {
    this.#queue.cancel(owner, clientId);
  }

  /** The lease is over: others see to all of them. */
  clear(): void {
    this.#queue.clear();
    this.#lookAt = NEVER;
  }

  stop(): void {
    this.#stopSweep();
    this.clear();
  }

  /**
   * Goes through all wills of an owner and sees to those whose connection has ended: of a dead node all, `endedAt` by the log's clock;
   * of this one (undefined) those that say so. Ends early when `goesOn` says no.
   * @throws Error when the store does not answer
   */
  async look(owner: string, endedAt: number | undefined, goesOn: () => boolean): Promise<Look> {
    let [settled, waiting, again] = [0, 0, NEVER];
    for (let next: number | undefined = 0; next !== undefined && goesOn(); ) {
      const page = await this.#options.store.page(owner, next);
      const outcomes = await Promise.all(
        page.wills.map(async ({ clientId, record, revision }): Promise<Outcome> => {
          const known = decoded(record);
          if (known === undefined) return NEVER;
          const dueAt = known.dueAt ?? (endedAt === undefined ? undefined : endedAt + delayOf(known));
          // Its client is connected.
          if (dueAt === undefined && known.claim === undefined) return NEVER;
          return this.#attend({ owner, clientId, revision, record: known }, dueAt ?? 0);
        }),
      );
      for (const outcome of outcomes) {
        if (outcome === 'settled') settled++;
        else if (outcome === 'waiting') waiting++;
        else again = Math.min(again, outcome);
      }
      next = page.next;
    }
    return { settled, waiting, again };
  }

  #sweep(): void {
    if (this.#isSweeping || !this.#mayAct) return;
    this.#isSweeping = true;
    this.#attendAll()
      .catch(() => {
        // The store does not answer: the next sweep tries again.
      })
      .finally(() => {
        this.#isSweeping = false;
      });
  }

  async #attendAll(): Promise<void> {
    const { lease, log } = this.#options;
    for (let due = this.#take(); due.length > 0 && this.#mayAct; due = this.#take())
      await Promise.all(due.map((will) => this.#attendWaiting(will)));
    if (this.#lookAt > log.now()) return;
    this.#lookAt = log.now() + RETRY_MILLISECONDS;
    const { again } = await this.look(lease.incarnation, undefined, () => this.#mayAct);
    this.#lookAt = again;
  }

  #take(): WaitingWill[] {
    return this.#queue.take(this.#options.log.now(), AT_ONCE);
  }

  get #mayAct(): boolean {
    const { clock, lease } = this.#options;
    return clock.now() <= lease.deadline;
  }

  async #attendWaiting(will: WaitingWill): Promise<void> {
    const { clientId, dueAt, id, isDiscarded, owner } = will;
    const { store } = this.#options;
    try {
      const { record, revision } = await store.load(owner, clientId);
      const known = record === undefined ? undefined : decoded(record);
      if (known?.id !== id) return;
      if (!isDiscarded) {
        const found = { owner, clientId, record: known, revision };
        const outcome = await this.#attend(found, known.dueAt ?? dueAt);
        if (typeof outcome === 'number') this.#lookAt = Math.min(this.#lookAt, outcome);
      } else if (!(await store.remove(owner, clientId, revision))) this.#retry(will);
    } catch {
      this.#retry(will);
    }
  }

  async #attend(found: FoundWill, dueAt: number): Promise<Outcome> {
    const { record } = found;
    const will = { owner: found.owner, clientId: found.clientId, id: record.id, dueAt, isDiscarded: false };
    const { log } = this.#options;
    try {
      if (record.claim === undefined && dueAt > log.now()) return await this.#wait(found, dueAt);
    } catch {
      return this.#retry(will);
    }
    if (this.#options.publication.isInHand(record)) return this.#retry(will);
    if (this.#publishing.has(record.id)) return 'waiting';
    // One that waits for something that is away must not stop the others; it goes on by itself.
    return this.#withPatience(this.#publish(found, will));
  }

  async #publish(found: FoundWill, will: Omit<WaitingWill, 'at'>): Promise<Outcome> {
    const { id } = found.record;
    this.#publishing.add(id);
    try {
      // False: changed meanwhile. Somebody else sees to it, and who that is may die.
      if (!(await this.#options.publication.publish(found))) return this.#retry(will);
      this.#count(found.owner);
      return 'settled';
    } catch {
      // Nobody answered, or the log is full.
      return this.#retry(will);
    } finally {
      this.#publishing.delete(id);
    }
  }

  async #withPatience(publishing: Promise<Outcome>): Promise<Outcome> {
    let cancel: CancelTimer = () => {};
    const patience = new Promise<Outcome>((resolve) => {
      cancel = this.#options.clock.after(PATIENCE_MILLISECONDS, () => resolve('waiting'));
    });
    try {
      return await Promise.race([publishing, patience]);
    } finally {
      cancel();
    }
  }

  /** Its time is in the record, so that it is the same for every node that ever asks. */
  async #wait({ clientId, owner, record, revision }: FoundWill, dueAt: number): Promise<Outcome> {
    const will = { owner, clientId, id: record.id, dueAt, isDiscarded: false };
    if (record.dueAt === undefined) {
      const saved = await this.#options.store.save(owner, clientId, encodeWill({ ...record, dueAt }), revision);
      if (saved === undefined) return this.#retry(will);
    }
    return this.#queue.add({ ...will, at: dueAt }) ? 'waiting' : dueAt;
  }

  #retry(will: Omit<WaitingWill, 'at'>): Outcome {
    if (!this.#mayAct) return 'settled';
    const at = this.#options.log.now() + RETRY_MILLISECONDS;
    return this.#queue.add({ ...will, at }) ? 'waiting' : at;
  }

  #count(owner: string): void {
    const { counters, lease } = this.#options;
    if (owner === lease.incarnation) counters.willsPublished++;
    else counters.willsOfDeadNodes++;
  }
}

/** Undefined for a record of a newer layout: its own nodes look after it. */
function decoded(record: Buffer): WillRecord | undefined {
  try {
    return decodeWill(record);
  } catch {
    return undefined;
  }
}
