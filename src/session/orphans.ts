/**
 * Sessions whose node died with their client connected: their record has no end. Now and then one node looks through all records, and
 * gives those whose owner holds no lease the end that a close would have given them.
 */
import type { NodeLease, SessionStore } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { decodeRecord, encodeRecord, type SessionRecord } from './record.ts';
import { ttlOf } from './record-keeper.ts';

const SWEEP_SECONDS = 60;
/** Between two pages: the look-through must not show in anybody's latency. */
const PAGE_PAUSE_MILLISECONDS = 50;

export interface OrphansOptions {
  readonly store: SessionStore;
  readonly lease: NodeLease;
  readonly wills: { isStored(owners: readonly string[], clientId: string): Promise<boolean> };
  readonly clock: Clock;
  readonly counters: Counters;
  readonly failed: (error: unknown) => void;
}

/** Looks about once a minute, and when it is told. */
export class Orphans {
  readonly stop: CancelTimer;
  readonly #options: OrphansOptions;
  #isRunning = false;

  constructor(options: OrphansOptions) {
    this.#options = options;
    this.stop = options.clock.every(SWEEP_SECONDS * 1000, () => this.#run(() => sweepOnce(options)));
  }

  /** This node has found another one dead: it need not be elected. */
  sweepNow(): void {
    this.#run(() => sweepRecords(this.#options));
  }

  #run(sweep: () => Promise<void>): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    sweep()
      .catch(this.#options.failed)
      .finally(() => {
        this.#isRunning = false;
      });
  }
}

/** One look through all records, if this node is the one to do it. */
export async function sweepOnce(options: OrphansOptions): Promise<void> {
  const { lease } = options;
  if (lease.isSettled && (await lease.elect('orphans', SWEEP_SECONDS - 1))) await sweepRecords(options);
}

async function sweepRecords({ counters, lease, store, wills }: OrphansOptions): Promise<void> {
  const alive = new Map<string, boolean>([['', true]]);
  for (let next: number | undefined = 0; next !== undefined; ) {
    const page = await store.page(next);
    for (const { clientId, record, revision } of page.sessions) {
      const found = known(record);
      if (found === undefined) continue;
      const isAlive = alive.get(found.owner) ?? (await lease.isAlive(found.owner));
      alive.set(found.owner, isAlive);
      if (isAlive || !lease.isSettled) continue;
      // As long as the will of such a session is not published, who connects must find it.
      if (found.expirySeconds === 0 && (await wills.isStored(found.wills, clientId))) continue;
      counters.sessionsOrphaned++;
      if (found.expirySeconds === 0) await store.remove(clientId, revision);
      else await store.save(clientId, encodeRecord({ ...found, owner: '' }), revision, ttlOf(found.expirySeconds));
    }
    next = page.next;
    await new Promise((resolve) => setTimeout(resolve, PAGE_PAUSE_MILLISECONDS).unref());
  }
}

/** Undefined for a record of a newer layout: its own nodes look after it. */
function known(record: Buffer): SessionRecord | undefined {
  try {
    return decodeRecord(record);
  } catch {
    return undefined;
  }
}
