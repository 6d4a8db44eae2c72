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
  readonly clock: Clock;
  readonly counters: Counters;
  readonly failed: (error: unknown) => void;
}

/** Starts looking; the result ends it. */
export function sweepOrphans(options: OrphansOptions): CancelTimer {
  const { clock, failed } = options;
  let isRunning = false;
  return clock.every(SWEEP_SECONDS * 1000, () => {
    if (isRunning) return;
    isRunning = true;
    sweepOnce(options)
      .catch(failed)
      .finally(() => {
        isRunning = false;
      });
  });
}

/** One look through all records, if this node is the one to do it. */
export async function sweepOnce({ counters, lease, store }: OrphansOptions): Promise<void> {
  if (!lease.isSettled || !(await lease.elect('orphans', SWEEP_SECONDS - 1))) return;
  const alive = new Map<string, boolean>([['', true]]);
  for (let next: number | undefined = 0; next !== undefined; ) {
    const page = await store.page(next);
    for (const { clientId, record, revision } of page.sessions) {
      const found = known(record);
      if (found === undefined) continue;
      const isAlive = alive.get(found.owner) ?? (await lease.isAlive(found.owner));
      alive.set(found.owner, isAlive);
      if (isAlive || !lease.isSettled) continue;
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
