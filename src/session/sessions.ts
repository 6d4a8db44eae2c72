/**
 * The sessions of the clients that are connected to this node: found in the store or begun at CONNECT, written about once a second
 * while they move, and handed back to the store when the connection ends.
 */
import { randomBytes } from 'node:crypto';
import type {
  GroupLog,
  LogState,
  MessageLog,
  NodeLease,
  RetainedStore,
  SessionStore,
  StoredSession,
} from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import type { ProtocolVersion } from '../mqtt/packet.ts';
import { Feeds } from './feeds.ts';
import { Orphans } from './orphans.ts';
import type { Outlet } from './outlet.ts';
import { decodeRecord, encodeRecord, type SessionRecord } from './record.ts';
import { RecordKeeper } from './record-keeper.ts';
import { Session } from './session.ts';
import type { HeldWill, Wills } from './wills.ts';

/** A session is written at most this often while it moves. */
const TICK_MILLISECONDS = 1_000;
/** Sessions verified per tick after NATS was away. */
const VERIFIED_PER_TICK = 2_000;
/** Before a log is believed to have been set back. */
const SECOND_LOOK_MILLISECONDS = 2_000;
/** Owners that race for one session: each failure means that another one has won. */
const CLAIM_ATTEMPTS = 5;
/** The end of a session waits so long for what becomes of the will; then it is written as if the will were still there. */
const WILL_MILLISECONDS = 2_000;
/** Owners of earlier wills that a record remembers. */
const MAXIMUM_WILLS = 8;

export interface SessionsOptions {
  readonly log: MessageLog;
  readonly store: SessionStore;
  readonly retained: RetainedStore;
  /** Undefined: members of groups get stored messages from the bus, with QoS 0. */
  readonly groups?: GroupLog | undefined;
  readonly lease: NodeLease;
  readonly wills: Wills;
  readonly counters: Counters;
  readonly clock: Clock;
  /** The log is another one, or was set back: whoever reads it has to begin anew. */
  readonly logReplaced: () => void;
  /** Messages that a client may leave unacknowledged, whatever it says itself. */
  readonly maximumWindow: number;
}

export interface OpenRequest {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  readonly cleanStart: boolean;
  /** As granted; 0 = ends with the connection. */
  readonly expirySeconds: number;
  readonly hasWill: boolean;
  readonly receiveMaximum: number;
  readonly outlet: Outlet;
  /** Another node has the session now. */
  readonly fenced: () => void;
  /** A subscription has all its retained messages. */
  readonly retainedRead: (text: string) => void;
  /** The connection has ended meanwhile: its session is no longer its own to open. */
  readonly isGone: () => boolean;
}

export interface OpenedSession {
  /** Undefined: nothing is kept, and a session is made when it is needed ({@link Sessions.begin}). */
  readonly session: Session | undefined;
  /** Session Present. [MQTT5 3.2.2-2] [MQTT5 3.2.2-3] [MQTT311 3.2.2-1] [MQTT311 3.2.2-2] */
  readonly isPresent: boolean;
  /** Revision of a record that says where the will of a session lies that ends with its connection. */
  readonly noteRevision?: number;
}

export class Sessions {
  readonly feeds: Feeds;
  readonly log: MessageLog;
  readonly retained: RetainedStore;
  readonly wills: Wills;
  readonly groups: GroupLog | undefined;
  readonly #options: SessionsOptions;
  readonly #open = new Set<Session>();
  readonly #mayServeNow = (): boolean => this.mayServe(this.#options.clock.now());
  readonly #stopTick: CancelTimer;
  readonly #orphans: Orphans;
  /** Not written since NATS was away. */
  #unverified: Session[] = [];

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.log = options.log;
    this.retained = options.retained;
    this.wills = options.wills;
    this.groups = options.groups;
    this.feeds = new Feeds(options.log, options.counters, options.clock, (last) => {
      if (last !== undefined) this.#setBack(last);
      options.logReplaced();
    });
    this.#stopTick = options.clock.every(TICK_MILLISECONDS, () => {
      for (const session of this.#open) session.tick();
      for (const session of this.#unverified.splice(0, VERIFIED_PER_TICK)) session.save(nothing);
    });
    this.#orphans = new Orphans({ ...options, failed: () => options.counters.logReadsFailed++ });
  }

  /** NATS was away: other nodes may have taken sessions over meanwhile. A write tells, and is owed anyway. */
  reconnected(): void {
    this.#unverified = [...this.#open];
    this.feeds.reconnected();
  }

  /** A node is dead and this one has found it: its sessions become free. */
  nodeDied(): void {
    this.#orphans.sweepNow();
  }

  /** What is written of the sessions from now on holds for the log as it is; sessions of another log are seen to when they are opened. */
  #setBack(last: number): void {
    for (const session of this.#open) {
      if (session.setBack(last) && session.isDurable) this.#options.counters.sessionsReset++;
    }
  }

  /** Past its lease a node serves nobody: others may have its sessions. `now` by the node's clock. */
  mayServe(now: number): boolean {
    return now <= this.#options.lease.deadline;
  }

  /** Sessions of connected clients that are or may get something to remember. */
  get count(): number {
    return this.#open.size;
  }

  /** What subscriptions may make of a record. */
  get maximumRecordBytes(): number {
    // The other half is for messages under way.
    return this.#options.store.maximumBytes() / 2;
  }

  /**
   * The session of a client that connects, in the order that CONNECT needs: what there was, the decision of Clean Start, and the
   * record with this node as its owner, stored. [MQTT5 3.1.2-4] [MQTT5 3.1.2-5] [MQTT5 3.1.2-6] [MQTT311 3.1.2-4] [MQTT311 3.1.2-6]
   */
  async open(request: OpenRequest): Promise<OpenedSession> {
    const { clientId, cleanStart, expirySeconds } = request;
    const { store } = this.#options;
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
      const stored = await store.load(clientId);
      if (request.isGone()) throw new Error('the connection has ended');
      const found = stored.record === undefined ? undefined : decodeRecord(stored.record);
      // One without expiry has ended with its connection, and was left by a node that died.
      const previous = cleanStart || found?.expirySeconds === 0 ? undefined : found;
      if (previous !== undefined || expirySeconds > 0) {
        const opened = await this.#claim(request, stored, previous, found);
        if (opened !== undefined) return opened;
      } else if (request.hasWill) {
        const noteRevision = await this.#note(request, stored, found);
        if (noteRevision !== undefined) return { session: undefined, isPresent: false, noteRevision };
      } else {
        await this.wills.settleEarlier(found?.wills ?? [], clientId, false);
        if (found === undefined || (await store.remove(clientId, stored.revision)))
          return { session: undefined, isPresent: false };
      }
    }
    throw new Error('the session changes its owner all the time');
  }

  /** A session that ends with its connection: all in memory. */
  begin(request: OpenRequest): Session {
    const session = this.#make(request, this.#newUid(), 1, '');
    session.start(this.#options.clock.now());
    return session;
  }

  /**
   * The connection is over, its will comes first: who asks for the client next finds it published, or where the record says. Resolves when
   * it is clear what becomes of the will, or it takes too long.
   */
  async endWill(held: HeldWill, session: Session | undefined, isPublished: boolean): Promise<void> {
    const { clock, store } = this.#options;
    const sessionExpirySeconds = session?.isDurable === true ? session.expirySeconds : held.sessionExpirySeconds;
    const ending = this.wills.end(held, { isPublished, sessionExpirySeconds }).then(async (isLeft) => {
      if (isLeft) return;
      if (session !== undefined) session.wills = [];
      // Without an answer the next CONNECT removes it, or the look for orphans.
      if (held.noteRevision !== undefined) await store.remove(held.clientId, held.noteRevision).catch(() => {});
    });
    let cancel = nothing;
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(WILL_MILLISECONDS, resolve);
    });
    await Promise.race([ending, late]);
    cancel();
  }

  /** The connection is over: resolves when the session is in the store or gone. */
  async close(session: Session): Promise<void> {
    this.#open.delete(session);
    await session.close();
  }

  abandon(session: Session): void {
    this.#open.delete(session);
    session.abandon();
  }

  stop(): void {
    this.#stopTick();
    this.#orphans.stop();
    this.feeds.stop();
  }

  /** Undefined: somebody else wrote first. */
  async #claim(
    request: OpenRequest,
    stored: StoredSession,
    previous: SessionRecord | undefined,
    found: SessionRecord | undefined,
  ): Promise<OpenedSession | undefined> {
    const { clientId, fenced } = request;
    const { counters, store } = this.#options;
    const { first, identity, last } = await this.#stateFor(previous);
    const session = this.#make(request, previous?.uid ?? this.#newUid(), (found?.epoch ?? 0) + 1, identity);
    if (previous !== undefined) session.restore(this.#fit(previous, { first, identity, last }));
    session.wills = this.#willOwners(request, found);
    const revision = await store
      .save(clientId, encodeRecord(session.snapshot(0)), stored.revision, 0)
      .catch((error: unknown) => {
        this.abandon(session);
        throw error;
      });
    if (revision === undefined) {
      this.abandon(session);
      return undefined;
    }
    if (previous !== undefined) counters.sessionsResumed++;
    session.keep(
      new RecordKeeper({ store, clientId, revision, fenced, snapshot: (writes) => session.snapshot(writes) }),
    );
    try {
      await this.wills.settleEarlier(found?.wills ?? [], clientId, previous !== undefined);
    } catch (error) {
      await this.close(session);
      throw error;
    }
    session.wills = this.#willOwners(request, undefined);
    return { session, isPresent: previous !== undefined };
  }

  /** A session that ends with its connection, and has a will: its record only says where that lies. Undefined: somebody else wrote first. */
  async #note(
    request: OpenRequest,
    stored: StoredSession,
    found: SessionRecord | undefined,
  ): Promise<number | undefined> {
    const { clientId } = request;
    const { lease, store } = this.#options;
    const record: SessionRecord = {
      clientId,
      uid: this.#newUid(),
      epoch: (found?.epoch ?? 0) + 1,
      owner: lease.incarnation,
      writes: 0,
      expirySeconds: 0,
      wills: this.#willOwners(request, found),
      log: '',
      subscriptions: [],
      outbound: [],
      done: [],
      inbound: [],
    };
    const revision = await store.save(clientId, encodeRecord(record), stored.revision, 0);
    if (revision !== undefined) await this.wills.settleEarlier(found?.wills ?? [], clientId, false);
    return revision;
  }

  /** Where wills of the client may lie while it connects: those that were left, and the one that is stored next. */
  #willOwners({ hasWill }: OpenRequest, found: SessionRecord | undefined): string[] {
    const owners = new Set(found?.wills ?? []);
    if (hasWill) owners.add(this.wills.owner);
    return [...owners].slice(-MAXIMUM_WILLS);
  }

  /** A log that seems to have been set back is asked again: one answer of a server that is behind must not undo positions. */
  async #stateFor(previous: SessionRecord | undefined): Promise<LogState> {
    const { log } = this.#options;
    const state = await log.state();
    const highest = Math.max(0, ...(previous?.subscriptions.flatMap(({ positions }) => positions) ?? []));
    if (previous === undefined || previous.log !== state.identity || highest <= state.last || state.isOnlyCopy)
      return state;
    await new Promise((resolve) => setTimeout(resolve, SECOND_LOOK_MILLISECONDS));
    return log.state();
  }

  #make(request: OpenRequest, uid: string, epoch: number, logIdentity: string): Session {
    const { counters, lease, log, maximumWindow, retained } = this.#options;
    const { clientId, expirySeconds, outlet, receiveMaximum, retainedRead, version } = request;
    const session = new Session({
      clientId,
      version,
      uid,
      epoch,
      owner: lease.incarnation,
      logIdentity,
      log,
      retained,
      retainedRead,
      feeds: this.feeds,
      groups: this.groups,
      mayServe: this.#mayServeNow,
      counters,
      outlet,
      window: Math.min(receiveMaximum, maximumWindow),
      expirySeconds,
    });
    this.#open.add(session);
    return session;
  }

  /** Positions of another log, or beyond the end of a log that was set back, mean nothing: the session starts where that log does. */
  #fit(record: SessionRecord, state: { first: number; identity: string; last: number }): SessionRecord {
    const { counters } = this.#options;
    const isOther = record.log !== state.identity;
    const lowest = Math.min(...record.subscriptions.flatMap(({ positions }) => positions), Number.POSITIVE_INFINITY);
    const isSetBack = record.subscriptions.some(({ positions }) => positions.some((position) => position > state.last));
    if (!isOther && !isSetBack) {
      if (state.first > lowest + 1) counters.sessionsTruncated++;
      return record;
    }
    counters.sessionsReset++;
    const clamp = (position: number): number => (isOther ? 0 : Math.min(position, state.last));
    return {
      ...record,
      subscriptions: record.subscriptions.map((subscription) => ({
        ...subscription,
        start: clamp(subscription.start),
        positions: subscription.positions.map(clamp),
      })),
      // PUBREL is still owed; what it released is no message of this log.
      outbound: record.outbound.filter(
        ({ sequence, state: delivery }) => delivery === 'released' || (!isOther && sequence <= state.last),
      ),
      done: isOther ? [] : record.done.filter((sequence) => sequence <= state.last),
    };
  }

  #newUid(): string {
    return randomBytes(9).toString('base64url');
  }
}

function nothing(): void {}
