/**
 * The wills of the clients that are connected to this node: stored before CONNACK, and published, left to wait or removed when the
 * connection ends. Also what earlier connections of a client have left anywhere, before the client is served again.
 */
import { randomBytes } from 'node:crypto';
import { MqttError, Reason } from '../mqtt/reason.ts';
import { DueWills, type DueWillsOptions, type Look } from './due-wills.ts';
import type { Will } from './will.ts';
import { type FoundWill, WillPublication, type WillPublicationOptions } from './will-publication.ts';
import { decodeWill, delayOf, encodeWill, type WillRecord } from './will-record.ts';

/** Writers that race for one will: each failure means that another one has done something about it. */
const ATTEMPTS = 5;
/** Until CONNECT looks again for a will that another node is publishing. */
const LOOK_MILLISECONDS = 50;
/** How long CONNECT waits for the publication of a will that an earlier connection has left. */
const PATIENCE_MILLISECONDS = 5_000;
/** Bytes of a record for what is not known yet: id, times, claim. */
const RECORD_ALLOWANCE = 512;
const nothingBeside = Buffer.alloc(0);

export interface WillsOptions extends WillPublicationOptions, Pick<DueWillsOptions, 'maximumWaiting'> {}

/** The will of a connected client, as it lies in the store. */
export interface HeldWill {
  readonly owner: string;
  readonly clientId: string;
  readonly id: string;
  readonly will: Will;
  /** As granted with CONNECT. */
  readonly sessionExpirySeconds: number;
  readonly revision: number;
  /** Revision of the session record that says where the will lies, when nothing else is in it. */
  readonly noteRevision: number | undefined;
}

export interface WillRequest {
  readonly clientId: string;
  readonly will: Will;
  readonly sessionExpirySeconds: number;
  readonly noteRevision: number | undefined;
}

export interface WillEnd {
  /** The connection has ended without a DISCONNECT that takes the will back. */
  readonly isPublished: boolean;
  /** Of the session, as it is now; 0 = it has ended. */
  readonly sessionExpirySeconds: number;
}

export class Wills {
  readonly #options: WillsOptions;
  readonly #publication: WillPublication;
  readonly #due: DueWills;
  /** Owner whose marker is being written or is there. */
  #marked: { readonly owner: string; readonly written: Promise<void> } | undefined;
  /** Wills of this incarnation that are in the store. */
  #stored = 0;

  constructor(options: WillsOptions) {
    this.#options = options;
    this.#publication = new WillPublication(options);
    this.#due = new DueWills({ ...options, publication: this.#publication });
  }

  /** Incarnation under which wills are stored now. */
  get owner(): string {
    return this.#options.lease.incarnation;
  }

  /** Delayed wills that this node has in mind. */
  get waiting(): number {
    return this.#due.waiting;
  }

  /** @throws MqttError 0x95 for a will that is too large for the store */
  check(will: Will): void {
    const { length } = encodeWill(recordOf({ id: '', sessionExpirySeconds: 0, will }));
    if (length + RECORD_ALLOWANCE > this.#options.store.maximumBytes())
      throw new MqttError(Reason.packetTooLarge, 'a will of this size cannot be stored');
  }

  /**
   * Stores the will of a client that connects; its session record says already where it lies. [MQTT5 3.1.2-7] [MQTT311 3.1.2-8]
   * @throws Error when the store does not answer
   */
  async store({ clientId, noteRevision, sessionExpirySeconds, will }: WillRequest): Promise<HeldWill> {
    const { counters, store } = this.#options;
    const { owner } = this;
    await this.#mark(owner);
    const id = randomBytes(12).toString('base64url');
    const held = { owner, clientId, id, will, sessionExpirySeconds, noteRevision };
    const record = encodeWill(recordOf(held));
    try {
      for (let attempt = 0, expected = 0; attempt < ATTEMPTS; attempt++) {
        const revision = await store.save(owner, clientId, record, expected);
        if (revision !== undefined) {
          counters.willsStored++;
          this.#stored++;
          return { ...held, revision };
        }
        // What was removed has left a revision; what is there is of a connection whose end is not done with.
        const found = await this.#find(owner, clientId);
        if (found.record !== undefined) await this.#settle({ ...found, record: found.record }, false);
        else expected = found.revision;
      }
      throw new Error('the will of a client changes all the time');
    } catch (error) {
      // It may be there all the same, and its connection never was.
      this.#due.add({ owner, clientId, id, at: 0, dueAt: 0, isDiscarded: true });
      throw error;
    }
  }

  /**
   * The connection is over. Resolves with whether the will, or a trace of it, is still in the store: it waits for its time, or nobody
   * has answered. [MQTT5 3.1.2-8] [MQTT5 3.1.2-10] [MQTT311 3.1.2-8] [MQTT311 3.1.2-10]
   */
  async end(held: HeldWill, { isPublished, sessionExpirySeconds }: WillEnd): Promise<boolean> {
    const { clientId, id, owner, revision } = held;
    const { counters, log, store } = this.#options;
    // Past the lease it is for others to decide.
    if (!this.#mayAct(owner)) return true;
    const record = recordOf({ ...held, sessionExpirySeconds });
    const dueAt = isPublished ? log.now() + delayOf(record) : 0;
    try {
      if (!isPublished) {
        await store.remove(owner, clientId, revision);
      } else if (delayOf(record) > 0) {
        if ((await store.save(owner, clientId, encodeWill({ ...record, dueAt }), revision)) === undefined) return false;
        this.#due.add({ owner, clientId, id, at: dueAt, dueAt, isDiscarded: false });
        return true;
      } else if (await this.#publication.publish({ owner, clientId, record, revision })) {
        counters.willsPublished++;
      }
      // Changed by somebody else, it is the other's.
      this.#stored--;
      return false;
    } catch {
      // Nobody has answered: tried again as long as the lease lasts.
      if (this.#mayAct(owner)) this.#due.add({ owner, clientId, id, at: 0, dueAt, isDiscarded: !isPublished });
      return true;
    }
  }

  /** A connection that was never accepted: its will is none. */
  discard(held: HeldWill): Promise<boolean> {
    return this.end(held, { isPublished: false, sessionExpirySeconds: 0 });
  }

  /**
   * What earlier connections of a client have left under `owners`: cancelled when the client is back in its session before the delay has
   * passed, else published now, so that it comes before anything that the client publishes. [MQTT5 3.1.3-9]
   * @throws Error when nobody answers
   */
  async settleEarlier(owners: readonly string[], clientId: string, isResumed: boolean): Promise<void> {
    for (const owner of owners) await this.#settleAt(owner, clientId, isResumed);
  }

  async #settleAt(owner: string, clientId: string, isResumed: boolean): Promise<void> {
    const { clock } = this.#options;
    for (let attempt = 0; attempt < ATTEMPTS; ) {
      const found = await this.#find(owner, clientId);
      const { record } = found;
      if (record === undefined) return;
      if (this.#publication.isInHand(record)) {
        await new Promise<void>((resolve) => clock.after(LOOK_MILLISECONDS, resolve));
      } else {
        if (await this.#settle({ ...found, record }, isResumed)) return;
        attempt++;
      }
    }
    throw new Error('the will of a client changes all the time');
  }

  /** Whether a will of the client lies under one of `owners`. */
  async isStored(owners: readonly string[], clientId: string): Promise<boolean> {
    for (const owner of owners) if ((await this.#options.store.load(owner, clientId)).record !== undefined) return true;
    return false;
  }

  /** Wills of a dead node: see {@link DueWills.look}. */
  look(owner: string, endedAt: number, goesOn: () => boolean): Promise<Look> {
    return this.#due.look(owner, endedAt, goesOn);
  }

  /** Other nodes see to all wills of this one. */
  leaseLost(): void {
    this.#due.clear();
    this.#publication.abandon();
    this.#marked = undefined;
    this.#stored = 0;
  }

  /** Connections are closed before. Wills that wait are left to the other nodes. */
  async stop(): Promise<void> {
    this.#due.stop();
    this.#publication.abandon();
    const { store } = this.#options;
    if (this.#marked === undefined || this.#stored > 0 || !this.#mayAct(this.#marked.owner)) return;
    // Without an answer the other nodes find out that nothing is there.
    await store.unmark(this.#marked.owner).catch(() => {});
  }

  /** True when it is done with; false when somebody else has changed it. */
  async #settle(found: FoundWill, isResumed: boolean): Promise<boolean> {
    const { clientId, owner, record, revision } = found;
    const { counters, log, store } = this.#options;
    const isInTime = delayOf(record) > 0 && (record.dueAt === undefined || record.dueAt > log.now());
    if (record.claim === undefined && isResumed && isInTime) {
      if (!(await store.remove(owner, clientId, revision))) return false;
      counters.willsCancelled++;
    } else {
      if (!(await this.#inTime(this.#publication.publish(found)))) return false;
      counters.willsPublished++;
    }
    this.#due.cancel(owner, clientId);
    if (owner === this.owner) this.#stored--;
    return true;
  }

  async #find(
    owner: string,
    clientId: string,
  ): Promise<Omit<FoundWill, 'record'> & { record: WillRecord | undefined }> {
    const { record, revision } = await this.#options.store.load(owner, clientId);
    return { owner, clientId, revision, record: record === undefined ? undefined : decodeWill(record) };
  }

  #mayAct(owner: string): boolean {
    const { clock, lease } = this.#options;
    return owner === lease.incarnation && clock.now() <= lease.deadline;
  }

  async #mark(owner: string): Promise<void> {
    if (this.#marked?.owner !== owner) {
      const written = this.#options.store.mark(owner);
      this.#marked = { owner, written };
      written.catch(() => {
        // Whoever waits for it hears of it; the next will tries again.
        if (this.#marked?.written === written) this.#marked = undefined;
      });
    }
    await this.#marked.written;
  }

  /** Publishing goes on when CONNECT no longer waits for it. */
  async #inTime(publishing: Promise<boolean>): Promise<boolean> {
    let cancel = (): void => {};
    const late = new Promise<never>((_, reject) => {
      cancel = this.#options.clock.after(PATIENCE_MILLISECONDS, () => reject(new Error('the log does not answer')));
    });
    try {
      return await Promise.race([publishing, late]);
    } finally {
      cancel();
      publishing.catch(() => {});
    }
  }
}

function recordOf({
  id,
  sessionExpirySeconds,
  will,
}: Pick<HeldWill, 'id' | 'sessionExpirySeconds' | 'will'>): WillRecord {
  return {
    id,
    topic: will.route.name,
    payload: will.payload,
    properties: will.extras?.properties ?? nothingBeside,
    qos: will.qos,
    retain: will.extras?.retain === true,
    delaySeconds: will.delaySeconds,
    sessionExpirySeconds,
    dueAt: undefined,
    claim: undefined,
  };
}
