/**
 * The sessions of the clients that are connected to this node: opened or begun at CONNECT, written about once a second while they move,
 * and handed back to the store when the connection ends.
 */
import type { GroupLog, MessageLog, NodeLease, RetainedStore, SessionStore, StoredSession } from '../broker/ports.ts';
import type { CancelTimer, Clock } from '../clock.ts';
import type { Counters } from '../counters.ts';
import { Feeds } from './feeds.ts';
import { isAnothers, newUid, type OpenedSession, Opening, type OpenRequest, type SessionIdentity } from './opening.ts';
import { Orphans } from './orphans.ts';
import { decodeRecord } from './record.ts';
import { Session } from './session.ts';
import type { HeldWill, Wills } from './wills.ts';

export type { OpenedSession } from './opening.ts';

/** A session is written at most this often while it moves. */
const TICK_MILLISECONDS = 1_000;
/** Sessions verified per tick after NATS was away. */
const VERIFIED_PER_TICK = 2_000;
/** The end of a session waits so long for what becomes of the will; then it is written as if the will were still there. */
const WILL_MILLISECONDS = 2_000;

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
  readonly #opening: Opening;
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
    this.#opening = new Opening({
      ...options,
      make: (request, identity) => this.#make(request, identity),
      close: (session) => this.close(session),
      abandon: (session) => this.abandon(session),
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

  /** What is stored of a client. */
  look(clientId: string): Promise<StoredSession> {
    return this.#options.store.load(clientId);
  }

  /** Whether what is stored of a client is another user's. */
  async isAnothers(clientId: string, user: string): Promise<boolean> {
    const { record } = await this.look(clientId);
    return record !== undefined && isAnothers(decodeRecord(record), user);
  }

  /** The session of a client that connects. */
  open(request: OpenRequest, found: Promise<StoredSession>): Promise<OpenedSession> {
    return this.#opening.open(request, found);
  }

  /** A session that ends with its connection: all in memory. */
  begin(request: OpenRequest): Session {
    const session = this.#make(request, { uid: newUid(), epoch: 1, logIdentity: '' });
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

  #make(request: OpenRequest, { epoch, logIdentity, uid }: SessionIdentity): Session {
    const { counters, lease, log, maximumWindow, retained } = this.#options;
    const { clientId, expirySeconds, outlet, receiveMaximum, retainedRead, user, version } = request;
    const session = new Session({
      clientId,
      user,
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
}

function nothing(): void {}
