/**
 * The node's lease: a key with a TTL in a bucket, renewed every fifth of it by compare-and-swap. It counts from the sending of the last
 * renewal that was confirmed, by the monotonic clock, and ends a little early for its holder: a node that was paused or cut off
 * has closed its clients before anybody else may act for them.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { NodeLease } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import { readyHeaders } from './envelope.ts';
import type { Requests } from './jetstream.ts';
import { clientKey } from './session-store.ts';

export const NODE_STREAM = 'KV_SMQ_NODES';
export const NODE_PREFIX = '$KV.SMQ_NODES.';
const RENEWALS_PER_LEASE = 5;
/** Part of the lease that its holder leaves unused: closing many clients takes time, and clocks do not run alike. */
const CLOSING_SHARE = 15;
/** Part of its term after which who leads a task says so again. */
const LEAD_SHARE = 3;
const WRONG_REVISION = 10_071;
const RETRY_MILLISECONDS = 500;

interface Holder {
  readonly nodeId: string;
  readonly incarnation: string;
}

export interface LeaseOptions {
  readonly requests: Requests;
  readonly nodeId: string;
  readonly seconds: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** The lease is over: whoever is still served must not be. A new one is taken in the background. */
  readonly lost: () => void;
}

export class NatsLease implements NodeLease {
  readonly #options: LeaseOptions;
  readonly #key: string;
  #incarnation = '';
  #previous = '';
  #revision = 0;
  #deadline = Number.NEGATIVE_INFINITY;
  #heldSince = 0;
  #cancelRenewal: CancelTimer | undefined;
  #cancelDeadline: CancelTimer | undefined;
  /** Tasks that this node leads: revision of their key, and until when (`Clock.now`). */
  readonly #led = new Map<string, { readonly revision: number; readonly until: number }>();
  #isRenewing = false;
  #isReleased = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#key = clientKey(options.nodeId);
  }

  get incarnation(): string {
    return this.#incarnation;
  }

  get deadline(): number {
    return this.#deadline;
  }

  get isSettled(): boolean {
    const { clock, seconds } = this.#options;
    const now = clock.now();
    return now < this.#deadline && now - this.#heldSince > seconds * 1000;
  }

  /** Takes the lease; waits while another life of this node id holds it. */
  async acquire(signal: AbortSignal): Promise<void> {
    const { clock, log, nodeId, seconds } = this.#options;
    this.#previous = this.#incarnation;
    this.#incarnation = `${this.#key}.${randomBytes(9).toString('base64url')}`;
    for (let isFirst = true; ; isFirst = false) {
      signal.throwIfAborted();
      if (await this.#take()) break;
      if (isFirst)
        log.warn(
          { event: 'node.idInUse', nodeId },
          `Another process with the node id ${nodeId} is alive or died within the last ${seconds} s: waiting until its lease is over. Two nodes need two ids`,
        );
      await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
    }
    this.#heldSince = clock.now();
    this.#cancelRenewal ??= clock.every((seconds * 1000) / RENEWALS_PER_LEASE, () => this.#renew());
  }

  async isAlive(incarnation: string): Promise<boolean> {
    const [key = ''] = incarnation.split('.');
    return (await this.#holderOf(key)).holder?.incarnation === incarnation;
  }

  async elect(task: string, seconds: number): Promise<boolean> {
    const holder = { nodeId: this.#options.nodeId, incarnation: this.#incarnation };
    const { revision, holder: present } = await this.#holderOf(`task-${task}`);
    return present === undefined && (await this.#write(`task-${task}`, holder, revision, seconds)) !== undefined;
  }

  async lead(task: string, seconds: number): Promise<boolean> {
    const { clock, nodeId } = this.#options;
    const led = this.#led.get(task);
    const now = clock.now();
    if (led !== undefined && led.until - now > seconds * 1000 * (1 - 1 / LEAD_SHARE)) return true;
    this.#led.delete(task);
    const key = `task-${task}`;
    const expected = led?.revision ?? (await this.#freeRevision(key));
    if (expected === undefined) return false;
    const revision = await this.#write(key, { nodeId, incarnation: this.#incarnation }, expected, seconds);
    if (revision === undefined) return false;
    this.#led.set(task, { revision, until: now + seconds * 1000 });
    return true;
  }

  async release(): Promise<void> {
    this.#isReleased = true;
    this.#cancelRenewal?.();
    this.#cancelDeadline?.();
    if (this.#deadline < this.#options.clock.now()) return;
    this.#deadline = Number.NEGATIVE_INFINITY;
    // Without an answer the lease ends by itself.
    await this.#write(this.#key, undefined, this.#revision, 1).catch(() => {});
  }

  async #take(): Promise<boolean> {
    const { clock, nodeId, seconds } = this.#options;
    try {
      const { holder, revision } = await this.#holderOf(this.#key);
      // An earlier life of this process has closed its clients: its lease need not end by itself.
      if (holder !== undefined && holder.incarnation !== this.#previous) return false;
      const sentAt = clock.now();
      const written = await this.#write(this.#key, { nodeId, incarnation: this.#incarnation }, revision, seconds);
      if (written === undefined) return false;
      this.#revision = written;
      this.#extend(sentAt);
      return true;
    } catch (error) {
      this.#options.log.warn({ event: 'node.leaseFailed', err: error }, 'The lease cannot be taken; trying again');
      return false;
    }
  }

  #renew(): void {
    if (this.#isRenewing || this.#isReleased) return;
    // A node that wakes may come here before its timer for the end.
    if (this.#options.clock.now() > this.#deadline) return this.#lose();
    this.#isRenewing = true;
    this.#renewOnce()
      .catch(() => {
        // No answer: tried again in a fifth of the lease, if it is not over by then.
      })
      .finally(() => {
        this.#isRenewing = false;
      });
  }

  async #renewOnce(): Promise<void> {
    const { clock, nodeId, seconds } = this.#options;
    const holder = { nodeId, incarnation: this.#incarnation };
    for (let attempt = 0; attempt < 2; attempt++) {
      const sentAt = clock.now();
      const written = await this.#write(this.#key, holder, this.#revision, seconds);
      // An answer that comes too late prolongs nothing.
      if (this.#isReleased || clock.now() > this.#deadline || holder.incarnation !== this.#incarnation) return;
      if (written !== undefined) {
        this.#revision = written;
        this.#extend(sentAt);
        return;
      }
      // An earlier renewal of ours whose answer was lost, or somebody else's lease, or none any more: then others may have acted.
      const found = await this.#holderOf(this.#key);
      if (found.holder?.incarnation !== this.#incarnation) return this.#lose();
      this.#revision = found.revision;
    }
  }

  /** The lease ends in time even if no renewal comes back any more. */
  #extend(sentAt: number): void {
    const { clock, seconds } = this.#options;
    this.#deadline = sentAt + seconds * 1000 * (1 - 1 / CLOSING_SHARE);
    this.#cancelDeadline?.();
    const end = (): void => {
      const left = this.#deadline - clock.now();
      // Timers may be early by a fraction of a millisecond.
      if (left > 0) this.#cancelDeadline = clock.after(Math.ceil(left), end);
      else if (!this.#isReleased) this.#lose();
    };
    this.#cancelDeadline = clock.after(Math.max(0, Math.floor(this.#deadline - clock.now())), end);
  }

  #lose(): void {
    const { clock, log, lost } = this.#options;
    // The end of the lease and an answer that says so may both come.
    if (this.#deadline === Number.NEGATIVE_INFINITY) return;
    log.error({ event: 'node.leaseLost' }, 'The lease of this node is over: closing all clients');
    this.#deadline = Number.NEGATIVE_INFINITY;
    this.#cancelRenewal?.();
    this.#cancelRenewal = undefined;
    this.#cancelDeadline?.();
    this.#led.clear();
    lost();
    const isGone = new AbortController();
    if (this.#isReleased) return;
    clock.after(0, () => {
      this.acquire(isGone.signal).catch((error: unknown) =>
        log.error({ event: 'node.leaseFailed', err: error }, 'No lease'),
      );
    });
  }

  /** What the first write of a key has to expect; undefined when another node holds it. */
  async #freeRevision(key: string): Promise<number | undefined> {
    const { holder, revision } = await this.#holderOf(key);
    return holder === undefined || holder.incarnation === this.#incarnation ? revision : undefined;
  }

  async #holderOf(key: string): Promise<{ holder: Holder | undefined; revision: number }> {
    const stored = await this.#options.requests.getMessage(NODE_STREAM, { last_by_subj: NODE_PREFIX + key });
    if (stored === undefined) return { holder: undefined, revision: 0 };
    const value = Buffer.from(stored.data ?? '', 'base64').toString();
    // Decoded border: only this file writes there.
    return { holder: value === '' ? undefined : (JSON.parse(value) as Holder), revision: stored.seq };
  }

  /** The new revision; undefined when the key has changed. No holder: a tombstone. */
  async #write(
    key: string,
    holder: Holder | undefined,
    expected: number,
    seconds: number,
  ): Promise<number | undefined> {
    const headers = readyHeaders(`Nats-Expected-Last-Subject-Sequence: ${expected}\r\nNats-TTL: ${seconds}s\r\n`);
    const value = Buffer.from(holder === undefined ? '' : JSON.stringify(holder));
    const reply = await this.#options.requests.request(NODE_PREFIX + key, value, headers);
    const answer = JSON.parse(Buffer.from(reply.data).toString()) as {
      seq?: number;
      error?: { err_code?: number; description: string };
    }; // decoded border: the server's JSON
    if (answer.error?.err_code === WRONG_REVISION) return undefined;
    if (answer.error !== undefined || answer.seq === undefined)
      throw new Error(`the lease cannot be written: ${answer.error?.description}`);
    return answer.seq;
  }
}
