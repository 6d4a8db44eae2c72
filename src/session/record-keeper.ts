/**
 * Keeps one session's record in the store: one write under way at a time, and everybody who waits for the state of now shares the
 * next one. Every write is a compare-and-swap, so an owner that was replaced finds out and never overwrites its successor.
 */
import type { SessionStore } from '../broker/ports.ts';
import { decodeRecord, encodeRecord, type SessionRecord } from './record.ts';

/** Session Expiry Interval that means never. */
const NEVER_EXPIRES = 0xffffffff;

/** What the store is told of a Session Expiry Interval: seconds, 0 = never. */
export function ttlOf(expirySeconds: number): number {
  return expirySeconds === NEVER_EXPIRES ? 0 : expirySeconds;
}

const FIRST_RETRY_MILLISECONDS = 100;
const LONGEST_RETRY_MILLISECONDS = 2_000;

export interface KeeperOptions {
  readonly store: SessionStore;
  readonly clientId: string;
  readonly revision: number;
  /** The state of now, with the number of this write in it. */
  readonly snapshot: (writes: number) => SessionRecord;
  /** Another owner has the session. */
  readonly fenced: () => void;
}

export class RecordKeeper {
  readonly #options: KeeperOptions;
  #revision: number;
  #writes = 0;
  #running: Promise<void> | undefined;
  #waiting: Array<() => void> = [];
  #ttlSeconds = 0;
  #isEnded = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#revision = options.revision;
  }

  /** Calls `done` once the state of now, or a later one, is in the store; never, when another owner has taken over. */
  save(done: () => void): void {
    this.#waiting.push(done);
    if (this.#running !== undefined || this.#isEnded) return;
    // At the end of the turn: what else happens in it goes into the same write.
    this.#running = Promise.resolve().then(() => this.#writeAll());
  }

  saved(): Promise<void> {
    return new Promise((resolve) => this.save(resolve));
  }

  /** The last write: the record then ends after `ttlSeconds` (0 = never). Resolves also when the session is lost to another owner. */
  async end(ttlSeconds: number): Promise<void> {
    await this.#idle();
    this.#ttlSeconds = ttlSeconds;
    await Promise.race([this.saved(), this.#idle()]);
    this.#isEnded = true;
  }

  /** The record goes at once. */
  async remove(): Promise<void> {
    await this.#idle();
    const { clientId, store } = this.#options;
    // Not answered, or not as it was: written with its end instead, which finds out why.
    if (await store.remove(clientId, this.#revision).catch(() => false)) this.#isEnded = true;
    else await this.end(1);
  }

  /** Nothing is written any more. */
  abandon(): void {
    this.#isEnded = true;
    this.#waiting = [];
  }

  /** Resolves when nothing is being written. */
  async #idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0 && !this.#isEnded) {
        const waiting = this.#waiting;
        this.#waiting = [];
        if (!(await this.#write())) return this.#lost();
        for (const done of waiting) done();
      }
    } finally {
      // In the same step as the last look at who waits: nobody may come in between.
      this.#running = undefined;
    }
  }

  #lost(): void {
    const wasEnded = this.#isEnded;
    this.abandon();
    if (!wasEnded) this.#options.fenced();
  }

  /** False when another owner has the session. Tries until the store answers. */
  async #write(): Promise<boolean> {
    const { clientId, snapshot, store } = this.#options;
    for (let wait = FIRST_RETRY_MILLISECONDS; ; wait = Math.min(wait * 2, LONGEST_RETRY_MILLISECONDS)) {
      const record = snapshot(++this.#writes);
      try {
        const revision = await store.save(clientId, encodeRecord(record), this.#revision, this.#ttlSeconds);
        if (revision !== undefined) {
          this.#revision = revision;
          return true;
        }
        const { isOurs, isWritten } = await this.#lookAt(record);
        if (isWritten || !isOurs) return isOurs;
      } catch {
        // Nobody answered, so it may be written or not: the next attempt finds out.
        if (this.#isEnded) return false;
        await new Promise((resolve) => setTimeout(resolve, wait).unref());
      }
    }
  }

  /** After a refused write: an earlier attempt of ours whose answer was lost, or another owner's. */
  async #lookAt({ epoch, owner, uid, writes }: SessionRecord): Promise<{ isOurs: boolean; isWritten: boolean }> {
    const { record, revision } = await this.#options.store.load(this.#options.clientId);
    if (record === undefined) return { isOurs: false, isWritten: false };
    const found = decodeRecord(record);
    const isOurs = found.uid === uid && found.epoch === epoch && (found.owner === owner || owner === '');
    if (isOurs) this.#revision = revision;
    return { isOurs, isWritten: isOurs && found.writes === writes };
  }
}
