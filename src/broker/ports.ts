/**
 * The outside world as the broker sees it. nats/ implements these interfaces on a NATS cluster, embedded/ in the
 * memory of one process; both pass test/contract. Types only.
 */
import type { Extras, Topic } from '../message.ts';
import type { QoS } from '../mqtt/packet.ts';

/** A topic made ready for publishing. A connection keeps the route of its last topic and skips all checks with it. */
export interface Route extends Topic {}

/**
 * Called for each message of a bus subscription, synchronously and in order per publisher and topic. `payload` and
 * `extras` are views that are only valid during the call.
 */
export type BusDeliver = (topic: Topic, payload: Uint8Array, extras: Extras | undefined) => void;

/** Ends the bus subscription it came from; a second call does nothing. */
export type Unsubscribe = () => void;

/** A filter that this node has on the bus, or a pattern of the log that it follows. */
export interface BusSubscription {
  /** Asks once more for the part of it that the backplane has refused, if there is one; what it brings meanwhile goes on. */
  askAgain(): void;
  /** Nothing more is delivered; a second call does nothing. */
  end(): void;
}

/** QoS 0 transport between all nodes: at most once, nothing stored. */
export interface Bus {
  /** The route of a valid topic name, or undefined when its encoded form is longer than the bus carries. */
  route(topic: string): Route | undefined;
  /** Whether the encoded filter is short enough for the bus. */
  carries(filter: string): boolean;
  /** Bytes of the largest MQTT packet that the bus carries now, unless most of it are properties. */
  maximumPacketSize(): number;
  /**
   * Publishes. The payload is copied or sent before the call returns to the event loop. A message is dropped and counted
   * while the bus is disconnected. False asks the caller to stop reading its socket until {@link BusEvents.writable}.
   */
  publish(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean;
  /** Every message that matches `filter`, `a/#` including `a`, never first levels that start with `$` for a wildcard. */
  subscribe(filter: string, deliver: BusDeliver): BusSubscription;
  /** One member of the group `name` on `filter`: over all nodes each message reaches exactly one member. */
  subscribeGroup(name: string, filter: string, deliver: BusDeliver): Unsubscribe;
  /** Resolves when all subscriptions made so far are in effect or refused; rejects when the bus is closed. One round trip for many callers. */
  confirm(): Promise<void>;
  /** Why the backplane does not let this node have a subscription that it holds, all of it or a part; undefined = it does. Certain behind {@link confirm}. */
  refusal(filter: string, group?: string): SubscriptionRefusal | undefined;
  readonly isConnected: boolean;
  close(): Promise<void>;
}

/** forbidden: by the permissions of the node's user; tooMany: the node may have no more of them. */
export type SubscriptionRefusal = 'forbidden' | 'tooMany';

/** What a bus tells the node; handed in when it is made. */
export interface BusEvents {
  /** Publishing may go on after `publish` returned false. */
  writable(): void;
  /** Connection lost: messages are dropped from now on. */
  disconnected(): void;
  /** Connected again, subscriptions restored. */
  connected(): void;
}

/** When and where a client connected: both sides of a takeover compare the same value, and the later one keeps the client. */
export interface ClaimStamp {
  /** Milliseconds since the epoch, of the claiming node's clock. */
  readonly connectedAt: number;
  /** Random per process start: tells two nodes apart, and two lives of one node. */
  readonly incarnation: string;
  /** Of {@link Cluster.arrive}, for one incarnation. */
  readonly serial: number;
}

export interface ClaimRequest<Found> {
  readonly clientId: string;
  /** Of {@link Cluster.arrive}: of two CONNECTs of one user to this node the later one keeps the client, however long each was judged. */
  readonly arrival: number;
  /** A client of one user is not given to another one; what has no user (empty) is anybody's. */
  readonly user: string;
  /** Called when a later claim wins; closes the connection and resolves when that is done. */
  readonly yielded: () => Promise<void>;
  /** Whether the connection has ended: nobody gives way to it. */
  readonly isGone: () => boolean;
  /** Asks the cluster what it has of the client. */
  readonly look: () => Promise<Found>;
}

/** One client's place in the cluster, held from CONNECT to close. */
export interface Claim {
  release(): void;
}

export interface Claimed<Found> {
  readonly claim: Claim;
  /** What was looked for. Whoever does not want it need not handle that it rejects. */
  readonly found: Promise<Found>;
}

/** Exactly one live connection per client id over all nodes. */
export interface Cluster {
  /** A CONNECT has come: counts those of this node, from 1. */
  arrive(): number;
  /**
   * Takes the client id over from whoever holds it and resolves once the other connection is closed and its session is
   * written, or nobody has it. `found` is what `look` answers when nobody else has the client any more. Undefined: another user has the
   * client, whose connection stays.
   */
  claim<Found>(request: ClaimRequest<Found>): Promise<Claimed<Found> | undefined>;
  close(): Promise<void>;
}

/** A message of QoS 1 or 2, or a retained one of QoS 0, as the log holds it. Payload and extras are copies, free to keep. */
export interface LogRecord {
  /** Position in the log, from 1, growing. */
  readonly sequence: number;
  /** Of a live copy: position of the message before it on the same topic; 0 = none that the log still holds. */
  readonly previous: number;
  readonly topic: Topic;
  readonly payload: Buffer;
  /** QoS of the publisher. */
  readonly qos: QoS;
  readonly extras: Extras | undefined;
  /** Message Expiry Interval; undefined = does not expire. */
  readonly expirySeconds: number | undefined;
  /** When it was stored: milliseconds since the epoch, by the clock of {@link MessageLog.now}; only set for messages that expire. */
  readonly storedAt: number;
  /** As published; empty = none. */
  readonly messageId: string;
}

/** full: no space; tooLarge: no server takes it; refused: any other final answer. */
export type LogOutcome = 'stored' | 'full' | 'tooLarge' | 'refused';

/** A message on its way into the log: an object of the caller's, so that the way back needs no closure. */
export interface LogPublish {
  readonly route: Route;
  /** A copy: it may have to be sent again. */
  readonly payload: Uint8Array;
  readonly qos: QoS;
  /** Properties are a copy. */
  readonly extras: Extras | undefined;
  readonly expirySeconds: number | undefined;
  /** The log stores a second message with the same id within its duplicate window only once; empty = no such check. */
  readonly messageId: string;
  /** Called once, when the log has answered for good; `sequence` is 0 unless stored. Never called when the node stops first. */
  settled(outcome: LogOutcome, sequence: number): void;
}

/** Part of a topic filter that the log matches at once; the patterns of one filter match no message twice. */
export interface LogPattern {
  /** Equal patterns have equal keys. */
  readonly key: string;
  /** Matches one topic only. */
  readonly isExact: boolean;
}

export interface LogState {
  /** Another value means another log: positions of before mean nothing in it. */
  readonly identity: string;
  /** Position of the oldest message, and of the newest one ever stored; first = last + 1 when the log is empty. */
  readonly first: number;
  readonly last: number;
  /** The log has one copy: no answer can be behind another one. */
  readonly isOnlyCopy: boolean;
}

export interface LogPage {
  /** In order, none left out. */
  readonly records: readonly LogRecord[];
  /** Everything that matches up to this position is in `records`; `after` itself when nothing is known of what follows. */
  readonly upTo: number;
}

/** Every QoS 1 and 2 message, and every retained one, stored once, in order. All `Promise`s reject with an Error when nobody answers in time. */
export interface MessageLog {
  /**
   * Stores a message and settles it, in order of publishing; a message that got no answer is sent again until it is settled. Each
   * publisher bounds what it has under way.
   */
  publish(message: LogPublish): void;
  /** Undefined when the filter is too long. Wildcards at the first level match no topic that starts with `$`. */
  patterns(filter: string): readonly LogPattern[] | undefined;
  /** Copies of messages as they are stored: once each and in order, but a copy may be missing. Synchronous calls. */
  follow(pattern: LogPattern, take: (record: LogRecord) => void): BusSubscription;
  /** Resolves when every {@link follow} so far is in effect at the own server, or refused. One round trip for many callers. */
  confirm(): Promise<void>;
  /** Why the backplane does not let this node follow a pattern that it follows; undefined = it does. Certain behind {@link confirm}. */
  refusal(pattern: LogPattern): SubscriptionRefusal | undefined;
  /** The leader's word, asked for after the call; one round trip for many callers. */
  state(): Promise<LogState>;
  /** Messages behind position `after`, at most `limit` and about 256 KiB. Any replica answers. */
  read(pattern: LogPattern, after: number, limit: number): Promise<LogPage>;
  /** The leader's word: the first message behind `after`; undefined = there is none now. */
  readNext(pattern: LogPattern, after: number): Promise<LogRecord | undefined>;
  /** The leader's word: the message at this position, whatever its topic; undefined = gone. */
  readAt(sequence: number): Promise<LogRecord | undefined>;
  /** Milliseconds since the epoch by the clock that stamps {@link LogRecord.storedAt}. */
  now(): number;
  /** Resolves when nothing is under way, or after `timeoutMs`. */
  settleAll(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

export interface LogEvents {
  /** Live copies may be missing: the connection was lost, the log has another leader, or a duplicate was answered. */
  gap(): void;
}

/** The last message of a topic that was published with RETAIN. */
export interface RetainedMessage {
  /** Position in the retained store, growing: a message that takes the place of another one has a higher one. */
  readonly position: number;
  /** Position in the log; 0 = none that this log knows (an application wrote it, or the log was made anew since). */
  readonly sequence: number;
  readonly topic: Topic;
  readonly payload: Buffer;
  readonly qos: QoS;
  /** `retain` is set. */
  readonly extras: Extras;
  readonly expirySeconds: number | undefined;
  /** As in {@link LogRecord}. */
  readonly storedAt: number;
}

/** A message of the log that becomes the retained one of its topic; an empty payload leaves the topic without one. */
export interface RetainedPut {
  readonly route: Route;
  readonly payload: Uint8Array;
  readonly qos: QoS;
  readonly extras: Extras;
  readonly expirySeconds: number | undefined;
  /** Position in the log: decides between two of them, whoever comes first. */
  readonly sequence: number;
}

/** How far a reader of the retained store has come. */
export interface RetainedCursor {
  /** Everything that matches up to this position was read; 0 = nothing. */
  readonly position: number;
  /** Known to match more than the store looks up at once. */
  readonly isBroad: boolean;
}

export interface RetainedPage {
  /** By position. */
  readonly messages: readonly RetainedMessage[];
  /** Where the next page begins; undefined = there is none. */
  readonly next: RetainedCursor | undefined;
}

/** The retained message of each topic, for all nodes. */
export interface RetainedStore {
  /**
   * Puts the message in its place, or leaves a later one there; several for one topic may become one write. `done` is called once,
   * when that is certain, however long it takes; never when the node stops first.
   */
  put(message: RetainedPut, done: (outcome: LogOutcome) => void): void;
  /**
   * What matches the filter, page by page. `since`: `Clock.now` when the reader began; pages that others have read after it are shared.
   * Rejects with an Error when nobody answers in time.
   */
  page(filter: string, from: RetainedCursor, since: number): Promise<RetainedPage>;
  close(): void;
}

/**
 * A message of the log in the hands of one member of a group. It stays there until one of the methods below gives it up. Without the message
 * itself: while a client works on it, nobody needs to keep its payload.
 */
export interface GroupMessage {
  /** Handed out before: to a member that gave it back or died, or to this one. */
  readonly isRepeated: boolean;
  /** Names this hand-out to {@link GroupLog.acknowledge}, on any node. */
  readonly token: string;
  /** No member gets it again. Not certain: an acknowledgement can be lost with the connection. */
  acknowledge(): void;
  /** Like {@link acknowledge}, and resolves when it is certain, or when nobody has answered for as long as a message stays with a silent node. */
  confirm(): Promise<void>;
  /** Another member gets it at once. */
  release(): void;
  /** Somebody else may have it by now: nothing is said of it any more. */
  forget(): void;
}

export type GroupTake = (message: GroupMessage, record: LogRecord) => void;

/** One member of a group, from {@link GroupLog.join} on. */
export interface GroupMember {
  /** Resolves when everything that is stored from now on waits for the group; not before somebody answers. */
  readonly ready: Promise<void>;
  /** It may be given so many more messages, whatever was said before; a few more can be on their way already. */
  want(places: number): void;
  /** It gets nothing more. What it holds stays its own; what is on its way is released. */
  leave(): void;
}

/** How far a group is behind. */
export interface GroupLag {
  readonly group: string;
  readonly filter: string;
  /** Messages that no member has been given yet. */
  readonly pending: number;
  /** Messages in the hands of members. */
  readonly unacknowledged: number;
}

/**
 * Groups on the log: each message that was stored since the group's first member joined is given to one member, and to another one when it is
 * given back, or its node does not say for a while that the member still has it. A group ends a configured time after its last member.
 */
export interface GroupLog {
  /** Groups with members on this node. */
  readonly count: number;
  /** False: a group that this node does not serve yet would be one too many. */
  accepts(group: string, filter: string): boolean;
  /** `take` is called for each message, synchronously. */
  join(group: string, filter: string, take: GroupTake): GroupMember;
  /** Acknowledges what an earlier node was given; resolves when it is certain or when nobody answers. */
  acknowledge(token: string): Promise<void>;
  /** Of groups with members here; a bounded number of them, and some seconds old at most. */
  lags(): Promise<readonly GroupLag[]>;
  close(): Promise<void>;
}

export interface StoredSession {
  /** Undefined: no session. */
  readonly record: Buffer | undefined;
  /** What the next write must expect. */
  readonly revision: number;
}

/** Session records by client id. Every write is a compare-and-swap. All reject with an Error when nobody answers in time. */
export interface SessionStore {
  /** The leader's word. */
  load(clientId: string): Promise<StoredSession>;
  /** The new revision, or undefined when the record has changed. `ttlSeconds`: the record ends by itself after it; 0 = never. */
  save(clientId: string, record: Buffer, expected: number, ttlSeconds: number): Promise<number | undefined>;
  /** False when the record has changed. */
  remove(clientId: string, expected: number): Promise<boolean>;
  /** Largest record in bytes, less what a client id of the usual length takes. */
  maximumBytes(): number;
  /** Records in pages, as any replica has them: `after` is the `next` of the page before, 0 = from the start; `next` undefined = the end. */
  page(after: number): Promise<SessionPage>;
}

export interface SessionPage {
  readonly sessions: ReadonlyArray<{ readonly clientId: string; readonly record: Buffer; readonly revision: number }>;
  readonly next: number | undefined;
}

export interface StoredWill {
  /** Undefined: no will. */
  readonly record: Buffer | undefined;
  /** What the next write must expect. */
  readonly revision: number;
}

/**
 * Wills by owner (the incarnation of the node that had their client) and client id. Every write is a compare-and-swap. All reject with an
 * Error when nobody answers in time.
 */
export interface WillStore {
  /** The leader's word. */
  load(owner: string, clientId: string): Promise<StoredWill>;
  /** The new revision, or undefined when the will has changed. */
  save(owner: string, clientId: string, record: Buffer, expected: number): Promise<number | undefined>;
  /** False when the will has changed. */
  remove(owner: string, clientId: string, expected: number): Promise<boolean>;
  /** Largest record in bytes, less what a client id of the usual length takes. */
  maximumBytes(): number;
  /** Wills of one owner in pages, as any replica has them: see {@link SessionStore.page}. */
  page(owner: string, after: number): Promise<WillPage>;
  /** The leader's word: this owner has no wills, and none was removed a moment ago. */
  isEmpty(owner: string): Promise<boolean>;
  /** An owner is marked before its first will is stored, so that nobody has to look through all wills for dead owners. */
  mark(owner: string): Promise<void>;
  unmark(owner: string): Promise<void>;
  /** The leader's word: owners that are marked. */
  owners(): Promise<readonly string[]>;
}

export interface WillPage {
  readonly wills: ReadonlyArray<{ readonly clientId: string; readonly record: Buffer; readonly revision: number }>;
  readonly next: number | undefined;
}

/** A node's sign of life: what other nodes do about a dead one, and what a node may do itself, depends on it. */
export interface NodeLease {
  /** Random per life of the node; a new one after the lease was lost. Stands in session records as their owner. */
  readonly incarnation: string;
  /** Until then (`Clock.now`) other nodes believe this one alive; past it, it serves nobody. */
  readonly deadline: number;
  /** Held without interruption for longer than a lease lasts: this node may judge others. */
  readonly isSettled: boolean;
  /** The leader's word: whether the node of this incarnation holds its lease. */
  isAlive(incarnation: string): Promise<boolean>;
  /** True once in `seconds`, for one node. */
  elect(task: string, seconds: number): Promise<boolean>;
  /** True for one node at a time, which stays the one as long as it asks again before `seconds` have passed. */
  lead(task: string, seconds: number): Promise<boolean>;
  /** Gives the lease back at once: this node is going. */
  release(): Promise<void>;
}

/** All ports of one node; nats/backplane.ts and embedded/backplane.ts make it. */
export interface Backplane {
  readonly bus: Bus;
  readonly cluster: Cluster;
  /** Absent: nothing is stored. */
  readonly log?: MessageLog;
  readonly sessions?: SessionStore;
  readonly retained?: RetainedStore;
  readonly wills?: WillStore;
  readonly groups?: GroupLog;
  readonly lease?: NodeLease;
  close(): Promise<void>;
}
