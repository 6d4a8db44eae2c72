/**
 * How a session is opened at CONNECT: what the store has of the client is read, Clean Start decides, and a record with this node as its owner
 * takes its place by compare-and-swap. Whoever loses that race looks again. Wills that an earlier owner has left are settled before the client
 * has its CONNACK.
 */
import { randomBytes } from 'node:crypto';
import type { MessageLog, NodeLease, SessionStore, StoredSession } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import type { ProtocolVersion, QoS } from '../mqtt/packet.ts';
import { MqttError, Reason } from '../mqtt/reason.ts';
import { fitRecord, stateFor } from './fit-record.ts';
import type { Outlet } from './outlet.ts';
import { decodeRecord, encodeRecord, type SessionRecord } from './record.ts';
import { RecordKeeper } from './record-keeper.ts';
import type { Session } from './session.ts';
import type { Wills } from './wills.ts';

/** Owners that race for one session: each failure means that another one has won. */
const CLAIM_ATTEMPTS = 5;
/** Owners of earlier wills that a record remembers. */
const MAXIMUM_WILLS = 8;

export interface OpenRequest {
  readonly clientId: string;
  /** A session of one user is not given to another one; empty = no user, whose session is anybody's. */
  readonly user: string;
  /** Stored sessions are anybody's, those too that were stored when they were not. */
  readonly ignoresUsers?: boolean;
  readonly version: ProtocolVersion;
  readonly cleanStart: boolean;
  /** As granted; 0 = ends with the connection. */
  readonly expirySeconds: number;
  readonly hasWill: boolean;
  readonly receiveMaximum: number;
  readonly outlet: Outlet;
  /** Another node has the session now. */
  readonly fenced: () => void;
  /** The highest QoS at which the client may have a subscription that is stored; undefined = not any more. Absent: nothing has changed. */
  readonly permitted?: (text: string) => QoS | undefined;
  /** A subscription has all its retained messages. */
  readonly retainedRead: (text: string) => void;
  /** The connection has ended meanwhile: its session is no longer its own to open. */
  readonly isGone: () => boolean;
}

export interface OpenedSession {
  /** Undefined: nothing is kept, and a session is made when it is needed (`Sessions.begin`). */
  readonly session: Session | undefined;
  /** Session Present. [MQTT5 3.2.2-2] [MQTT5 3.2.2-3] [MQTT311 3.2.2-1] [MQTT311 3.2.2-2] */
  readonly isPresent: boolean;
  /** Of the session that is resumed, as it was: what the client has asked for instead holds when it is accepted. */
  readonly previousExpirySeconds?: number;
  /** Revision of a record that says where the will of a session lies that ends with its connection. */
  readonly noteRevision?: number;
}

/** What makes a session this one and no other: see {@link SessionRecord}. */
export interface SessionIdentity {
  readonly uid: string;
  readonly epoch: number;
  readonly logIdentity: string;
}

/** What the store had of the client. */
interface Before {
  readonly revision: number;
  readonly found: SessionRecord | undefined;
  /** What is resumed of it. */
  readonly previous: SessionRecord | undefined;
}

export interface OpeningOptions {
  readonly log: MessageLog;
  readonly store: SessionStore;
  readonly lease: NodeLease;
  readonly wills: Wills;
  readonly counters: Counters;
  /** A session of this node, which is ended by one of the next two. */
  readonly make: (request: OpenRequest, identity: SessionIdentity) => Session;
  readonly close: (session: Session) => Promise<void>;
  readonly abandon: (session: Session) => void;
}

export class Opening {
  readonly #options: OpeningOptions;

  constructor(options: OpeningOptions) {
    this.#options = options;
  }

  /**
   * The session of a client that connects, in the order that CONNECT needs: what there was, the decision of Clean Start, and the
   * record with this node as its owner, stored. `found` is what the store has of the client since nobody else has it. [MQTT5 3.1.2-4] [MQTT5 3.1.2-5] [MQTT5 3.1.2-6] [MQTT311 3.1.2-4] [MQTT311 3.1.2-6]
   */
  async open(request: OpenRequest, found: Promise<StoredSession>): Promise<OpenedSession> {
    let stored = await found;
    for (let attempt = 1; ; attempt++) {
      const opened = await this.#tryOnce(request, look(request, stored));
      if (opened !== undefined) return opened;
      if (attempt === CLAIM_ATTEMPTS) break;
      stored = await this.#options.store.load(request.clientId);
    }
    throw new Error('the session changes its owner all the time');
  }

  /** Undefined, here and below: somebody else wrote first. */
  async #tryOnce(request: OpenRequest, before: Before): Promise<OpenedSession | undefined> {
    const { clientId, expirySeconds, hasWill } = request;
    const { store, wills } = this.#options;
    if (before.previous !== undefined || expirySeconds > 0) return this.#claim(request, before);
    if (hasWill) {
      const noteRevision = await this.#note(request, before);
      return noteRevision === undefined ? undefined : { session: undefined, isPresent: false, noteRevision };
    }
    const { found, revision } = before;
    await wills.settleEarlier(found?.wills ?? [], clientId, false);
    const isGone = found === undefined || (await store.remove(clientId, revision));
    return isGone ? { session: undefined, isPresent: false } : undefined;
  }

  async #claim(request: OpenRequest, before: Before): Promise<OpenedSession | undefined> {
    const { clientId, fenced } = request;
    const { found, previous } = before;
    const { abandon, close, counters, store, wills } = this.#options;
    const session = await this.#makeFrom(request, before);
    const revision = await store
      .save(clientId, encodeRecord(session.snapshot(0)), before.revision, 0)
      .catch((error: unknown) => {
        abandon(session);
        throw error;
      });
    if (revision === undefined) {
      abandon(session);
      return undefined;
    }
    if (previous !== undefined) counters.sessionsResumed++;
    session.keep(
      new RecordKeeper({ store, clientId, revision, fenced, snapshot: (writes) => session.snapshot(writes) }),
    );
    try {
      await wills.settleEarlier(found?.wills ?? [], clientId, previous !== undefined);
    } catch (error) {
      await close(session);
      throw error;
    }
    session.wills = this.#willOwners(request, undefined);
    if (previous === undefined) return { session, isPresent: false };
    return { session, isPresent: true, previousExpirySeconds: previous.expirySeconds };
  }

  async #makeFrom(request: OpenRequest, { found, previous }: Before): Promise<Session> {
    const { counters, log, make } = this.#options;
    const state = await stateFor(log, previous);
    const uid = previous?.uid ?? newUid();
    const session = make(request, { uid, epoch: (found?.epoch ?? 0) + 1, logIdentity: state.identity });
    if (previous !== undefined) session.restore(fitRecord(withPermitted(previous, request), state, counters));
    session.wills = this.#willOwners(request, found);
    return session;
  }

  /** A session that ends with its connection, and has a will: its record only says where that lies. */
  async #note(request: OpenRequest, { found, revision }: Before): Promise<number | undefined> {
    const { clientId, user } = request;
    const { lease, store, wills } = this.#options;
    const record: SessionRecord = {
      clientId,
      user,
      uid: newUid(),
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
    const written = await store.save(clientId, encodeRecord(record), revision, 0);
    if (written !== undefined) await wills.settleEarlier(found?.wills ?? [], clientId, false);
    return written;
  }

  /** Where wills of the client may lie while it connects: those that were left, and the one that is stored next. */
  #willOwners({ hasWill }: OpenRequest, found: SessionRecord | undefined): string[] {
    const owners = new Set(found?.wills ?? []);
    if (hasWill) owners.add(this.#options.wills.owner);
    return [...owners].slice(-MAXIMUM_WILLS);
  }
}

function look(
  { cleanStart, ignoresUsers = false, isGone, user }: OpenRequest,
  { record, revision }: StoredSession,
): Before {
  if (isGone()) throw new Error('the connection has ended');
  const found = record === undefined ? undefined : decodeRecord(record);
  if (!ignoresUsers && isAnothers(found, user))
    throw new MqttError(Reason.notAuthorized, 'the client id belongs to another user');
  // One without expiry has ended with its connection, and was left by a node that died.
  const previous = cleanStart || found?.expirySeconds === 0 ? undefined : found;
  return { revision, found, previous };
}

/** What has no user is anybody's. */
export function isAnothers(found: SessionRecord | undefined, user: string): boolean {
  return found !== undefined && found.user !== '' && found.user !== user;
}

/** Subscriptions that the client may not have any more are gone before anything is done for them. */
function withPermitted(record: SessionRecord, { permitted }: OpenRequest): SessionRecord {
  if (permitted === undefined) return record;
  const subscriptions = record.subscriptions.flatMap((subscription) => {
    const qos = permitted(subscription.text);
    if (qos === undefined) return [];
    const { options } = subscription;
    return [options.qos <= qos ? subscription : { ...subscription, options: { ...options, qos } }];
  });
  return { ...record, subscriptions };
}

export function newUid(): string {
  return randomBytes(9).toString('base64url');
}
