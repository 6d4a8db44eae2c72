/**
 * The SessionStore in the memory of one process: what a node uses when no NATS is configured. Same behaviour as
 * nats/session-store.ts (test/contract), but sessions end with the process.
 */
import type { SessionPage, SessionStore, StoredSession } from '../broker/ports.ts';
import type { Clock } from '../clock.ts';
import { ownCopy } from '../own-memory.ts';
import { StoreFullError } from '../store-full.ts';

/** As much as nats-server's default max_payload lets through. */
const MAXIMUM_BYTES = 1024 * 1024;
/** Saves between two looks for what has ended; more when there are more records, so that a save costs the same. */
const SAVES_PER_SWEEP = 1_000;

interface Entry {
  readonly record: Buffer;
  readonly revision: number;
  /** Monotonic milliseconds. */
  readonly endsAt: number;
}

/** The session records of a node without NATS. */
export class EmbeddedSessionStore implements SessionStore {
  readonly #clock: Clock;
  readonly #maximumSessions: number;
  readonly #entries = new Map<string, Entry>();
  #lastRevision = 0;
  #savesUntilSweep = SAVES_PER_SWEEP;

  /** `maximumSessions`: default none. */
  constructor({
    clock,
    maximumSessions = Number.POSITIVE_INFINITY,
  }: {
    readonly clock: Clock;
    readonly maximumSessions?: number;
  }) {
    this.#clock = clock;
    this.#maximumSessions = maximumSessions;
  }

  /** Records held, those included that have ended and were not looked at since. */
  get size(): number {
    return this.#entries.size;
  }

  /** No orphans: sessions end with the process. */
  async page(): Promise<SessionPage> {
    return { sessions: [], next: undefined };
  }

  async load(clientId: string): Promise<StoredSession> {
    const entry = this.#find(clientId);
    return entry === undefined
      ? { record: undefined, revision: 0 }
      : { record: Buffer.from(entry.record), revision: entry.revision };
  }

  async save(clientId: string, record: Buffer, expected: number, ttlSeconds: number): Promise<number | undefined> {
    if (record.length > MAXIMUM_BYTES) throw new RangeError(`session record of ${record.length} bytes`);
    if (this.#revisionOf(clientId) !== expected) return undefined;
    if (expected === 0 && !this.#hasRoom()) throw new StoreFullError('session');
    const revision = ++this.#lastRevision;
    const endsAt = ttlSeconds === 0 ? Number.POSITIVE_INFINITY : this.#clock.now() + ttlSeconds * 1_000;
    // A copy: the caller may write into its buffer again.
    this.#entries.set(clientId, { record: ownCopy(record), revision, endsAt });
    if (--this.#savesUntilSweep === 0) this.#sweep();
    return revision;
  }

  async remove(clientId: string, expected: number): Promise<boolean> {
    if (this.#revisionOf(clientId) !== expected) return false;
    this.#entries.delete(clientId);
    return true;
  }

  maximumBytes(): number {
    return MAXIMUM_BYTES;
  }

  #revisionOf(clientId: string): number {
    return this.#find(clientId)?.revision ?? 0;
  }

  #find(clientId: string): Entry | undefined {
    const entry = this.#entries.get(clientId);
    if (entry === undefined || entry.endsAt > this.#clock.now()) return entry;
    this.#entries.delete(clientId);
    return undefined;
  }

  #hasRoom(): boolean {
    if (this.#entries.size >= this.#maximumSessions) this.#sweep();
    return this.#entries.size < this.#maximumSessions;
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const [clientId, { endsAt }] of this.#entries) if (endsAt <= now) this.#entries.delete(clientId);
    this.#savesUntilSweep = Math.max(SAVES_PER_SWEEP, this.#entries.size);
  }
}
