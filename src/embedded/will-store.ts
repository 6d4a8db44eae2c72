/**
 * The WillStore in the memory of one process: what a node uses when no NATS is configured. Same behaviour as nats/will-store.ts
 * (test/contract), but wills end with the process.
 */
import type { StoredWill, WillPage, WillStore } from '../broker/ports.ts';
import { ownCopy } from '../own-memory.ts';

/** As much as nats-server's default max_payload lets through. */
const MAXIMUM_BYTES = 1024 * 1024;
const PAGE_WILLS = 256;

interface Entry {
  readonly record: Buffer;
  readonly revision: number;
}

/** The wills of a node without NATS. */
export class EmbeddedWillStore implements WillStore {
  readonly #wills = new Map<string, Map<string, Entry>>();
  readonly #marked = new Set<string>();
  #lastRevision = 0;

  async load(owner: string, clientId: string): Promise<StoredWill> {
    const entry = this.#wills.get(owner)?.get(clientId);
    return entry === undefined
      ? { record: undefined, revision: 0 }
      : { record: Buffer.from(entry.record), revision: entry.revision };
  }

  async save(owner: string, clientId: string, record: Buffer, expected: number): Promise<number | undefined> {
    if (record.length > MAXIMUM_BYTES) throw new RangeError(`will record of ${record.length} bytes`);
    if (this.#revisionOf(owner, clientId) !== expected) return undefined;
    const wills = this.#wills.get(owner) ?? new Map<string, Entry>();
    this.#wills.set(owner, wills);
    const revision = ++this.#lastRevision;
    // Behind all others, as in a stream: pages are in the order of revisions.
    wills.delete(clientId);
    // A copy: the caller may write into its buffer again.
    wills.set(clientId, { record: ownCopy(record), revision });
    return revision;
  }

  async remove(owner: string, clientId: string, expected: number): Promise<boolean> {
    const wills = this.#wills.get(owner);
    if (wills === undefined || wills.get(clientId)?.revision !== expected) return false;
    wills.delete(clientId);
    if (wills.size === 0) this.#wills.delete(owner);
    return true;
  }

  maximumBytes(): number {
    return MAXIMUM_BYTES;
  }

  async page(owner: string, after: number): Promise<WillPage> {
    const wills: Array<WillPage['wills'][number]> = [];
    for (const [clientId, { record, revision }] of this.#wills.get(owner) ?? []) {
      if (revision <= after) continue;
      wills.push({ clientId, record: Buffer.from(record), revision });
      if (wills.length === PAGE_WILLS) break;
    }
    return { wills, next: wills.at(-1)?.revision };
  }

  async isEmpty(owner: string): Promise<boolean> {
    return !this.#wills.has(owner);
  }

  async mark(owner: string): Promise<void> {
    this.#marked.add(owner);
  }

  async unmark(owner: string): Promise<void> {
    this.#marked.delete(owner);
  }

  async owners(): Promise<readonly string[]> {
    return [...this.#marked];
  }

  #revisionOf(owner: string, clientId: string): number {
    return this.#wills.get(owner)?.get(clientId)?.revision ?? 0;
  }
}
