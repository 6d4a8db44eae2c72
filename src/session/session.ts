/**
 * What a client's session is while its client is connected: subscriptions that read the log, deliveries under way, QoS 2 packets that
 * are not released. It joins the parts that do the work, and knows how a session begins, goes on and ends. A durable session puts its state
 * into the store before the packet leaves that depends on it (docs/session-record.md says which); a session that ends with its connection
 * does the same without the store.
 */
import type { GroupLog, MessageLog, RetainedStore } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import type { ProtocolVersion } from '../mqtt/packet.ts';
import type { ParsedFilter } from '../mqtt/topic.ts';
import { Acknowledgements } from './acknowledgements.ts';
import type { Feeds } from './feeds.ts';
import { Gate } from './gate.ts';
import { Inbound } from './inbound.ts';
import { LogDeliveries } from './log-deliveries.ts';
import { Memberships } from './memberships.ts';
import { type Delivery, Outbound } from './outbound.ts';
import type { Outlet } from './outlet.ts';
import type { Reader } from './reader.ts';
import { encodeRecord, type SessionRecord } from './record.ts';
import { type RecordKeeper, ttlOf } from './record-keeper.ts';
import { Resends } from './resends.ts';
import { RetainedCopies, type RetainedStart } from './retained-copies.ts';
import { Sending } from './sending.ts';
import { outboundRecords, subscriptionRecords } from './snapshot.ts';
import type { SessionSubscription, SubscriptionOptions } from './subscription.ts';
import { SubscriptionSet } from './subscription-set.ts';

export interface SessionOptions {
  readonly clientId: string;
  /** Empty = nobody's. */
  readonly user: string;
  readonly version: ProtocolVersion;
  readonly uid: string;
  readonly epoch: number;
  readonly owner: string;
  /** Identity of the log. */
  readonly logIdentity: string;
  readonly log: MessageLog;
  readonly retained: RetainedStore;
  readonly feeds: Feeds;
  /** Undefined: members of groups get stored messages from the bus. */
  readonly groups?: GroupLog | undefined;
  /** False: the node's lease is over. */
  readonly mayServe?: () => boolean;
  readonly counters: Counters;
  readonly outlet: Outlet;
  /** Messages that may be unacknowledged. */
  readonly window: number;
  readonly expirySeconds: number;
  /** A subscription has all its retained messages. */
  readonly retainedRead: (text: string) => void;
}

export class Session {
  readonly clientId: string;
  readonly inbound: Inbound;
  expirySeconds: number;
  /** See {@link SessionRecord.wills}. */
  wills: readonly string[] = [];
  readonly #options: SessionOptions;
  readonly #outbound: Outbound;
  readonly #gate: Gate;
  readonly #subscriptions: SubscriptionSet;
  /** Made when first used: few clients are in groups. */
  #memberships: Memberships | undefined;
  #keeper: RecordKeeper | undefined;
  readonly #sending: Sending;
  readonly #acknowledgements: Acknowledgements;
  readonly #resends: Resends;
  readonly #retained: RetainedCopies;
  /** Positions behind it are of messages that the log has lost. */
  #ceiling = Number.POSITIVE_INFINITY;
  /** The state is no longer what was written last. */
  #isMoved = false;

  constructor(options: SessionOptions) {
    const { clientId, counters, epoch, feeds, log, outlet, retained: store, uid, version, window } = options;
    this.#options = options;
    this.clientId = clientId;
    this.expirySeconds = options.expirySeconds;
    this.inbound = new Inbound(uid, epoch);
    const save = (done: () => void): void => this.save(done);
    const pump = (): void => this.pump();
    const outbound = new Outbound(window);
    const gate = new Gate({ outbound, outlet, isResending: () => !this.#resends.isEmpty });
    const sending = new Sending({ counters, gate, log, outbound, outlet, save });
    const finished = (delivery: Delivery): void => this.#finished(delivery);
    this.#acknowledgements = new Acknowledgements({ version, gate, outbound, outlet, save, finished });
    const done = (subscription: SessionSubscription): void => this.#release(subscription);
    const retained = new RetainedCopies({ counters, gate, outbound, outlet, sending, store, done });
    const moved = (): void => this.#moved();
    const waits = (reader: Reader): void => this.#subscriptions.waits(reader);
    const sink = new LogDeliveries({ feeds, gate, outbound, outlet, retained, sending, moved, pump, waits });
    this.#subscriptions = new SubscriptionSet({ feeds, log, sink });
    this.#resends = new Resends({
      acknowledgements: this.#acknowledgements,
      counters,
      gate,
      groups: options.groups,
      log,
      outbound,
      retained,
      sending,
      subscriptions: this.#subscriptions,
      done: pump,
    });
    this.#outbound = outbound;
    this.#gate = gate;
    this.#sending = sending;
    this.#retained = retained;
  }

  /** Whether the session is in the store, and what depends on it waits for the store. */
  get isDurable(): boolean {
    return this.#keeper !== undefined;
  }

  get subscriptionCount(): number {
    return this.#subscriptions.size;
  }

  /** Messages that wait for an acknowledgement of the client. */
  get inFlight(): number {
    return this.#outbound.inFlight;
  }

  /** Some of its readers wait for room, lag behind their feed or read the log. */
  get isBehind(): boolean {
    return this.#subscriptions.isBehind;
  }

  // ---- life ----

  /** Makes the session durable: its record is written by `keeper`. */
  keep(keeper: RecordKeeper): void {
    this.#keeper = keeper;
  }

  /** Puts back what the record says, before the client has its CONNACK. */
  restore(record: SessionRecord): void {
    this.#subscriptions.restore(record.subscriptions);
    for (const subscription of this.#subscriptions.all()) this.#join(subscription);
    const readers = this.#subscriptions.readers();
    this.#resends.restore(record.outbound, readers);
    for (const sequence of record.done) this.#outbound.remember(sequence, readers);
    this.inbound.restore(record.inbound);
  }

  /** CONNACK is out, at `now` of the node's clock: what an earlier connection left open goes first. [MQTT5 4.4.0-1] [MQTT311 4.4.0-1] */
  start(now: number): void {
    this.#gate.open();
    this.#retained.resume(this.#subscriptions.all(), now);
    this.pump();
  }

  /** The connection is over. Resolves when the state is in the store, or the session has ended. */
  async close(): Promise<void> {
    const keeper = this.#keeper;
    // The snapshot needs the readers' positions: they stop, and are asked once more.
    this.#gate.close();
    this.#memberships?.close();
    if (keeper !== undefined) {
      if (this.expirySeconds === 0) await keeper.remove();
      else await keeper.end(ttlOf(this.expirySeconds));
    }
    this.#memberships?.closed();
    this.#closeReaders();
  }

  /** Another owner has the session: nothing of it is ours any more. */
  abandon(): void {
    this.#gate.close();
    this.#keeper?.abandon();
    this.#memberships?.abandon();
    this.#closeReaders();
  }

  /** Calls `done` when the state of now is as safe as this session's state gets. */
  save(done: () => void): void {
    if (this.#keeper === undefined) done();
    else this.#keeper.save(done);
  }

  /** Called about once a second: writes positions that have moved, and goes on where nobody else would. */
  tick(): void {
    this.#outbound.prune();
    if (this.#isMoved && this.#keeper !== undefined) this.#keeper.save(() => {});
    this.#isMoved = false;
    this.#gate.isHungry = true;
    this.#retained.tick();
    this.pump();
  }

  snapshot(writes: number): SessionRecord {
    const { clientId, epoch, logIdentity, owner, uid, user } = this.#options;
    const isConnected = !this.#gate.isClosed;
    this.#outbound.prune();
    return {
      clientId,
      user,
      uid,
      epoch,
      owner: isConnected ? owner : '',
      writes,
      expirySeconds: this.expirySeconds,
      wills: this.wills,
      log: logIdentity,
      subscriptions: subscriptionRecords(this.#subscriptions.all(), this.#retained, this.#ceiling),
      outbound: outboundRecords(this.#outbound.deliveries(), this.#ceiling),
      done: this.#outbound.doneSequences().filter((sequence) => sequence <= this.#ceiling),
      inbound: this.inbound.records(),
    };
  }

  // ---- subscriptions ----

  /** Whether stored messages reach the client from the log. */
  get readsLog(): boolean {
    return this.#subscriptions.readsLog;
  }

  /** The log ends at `last` and goes on from there with other messages: nothing behind it was taken. True if something was. */
  setBack(last: number): boolean {
    this.#ceiling = last;
    const taken = [...this.#subscriptions.readers().map(({ position }) => position), ...this.#outbound.doneSequences()];
    return taken.some((position) => position > last);
  }

  /** Size of the record of now. */
  get recordBytes(): number {
    return encodeRecord(this.snapshot(0)).length;
  }

  /** Adds a subscription, or replaces the options of a known one and returns false. It gets messages from {@link begin} on. */
  subscribe(text: string, parsed: ParsedFilter, options: SubscriptionOptions): boolean {
    const added = this.#subscriptions.put(text, parsed, options);
    if (added !== undefined) this.#join(added);
    return added !== undefined;
  }

  /** The retained messages are owed to the client from now on; a resume knows of it too. */
  oweRetained(text: string): void {
    const subscription = this.#subscriptions.get(text);
    if (subscription !== undefined && subscription.group === undefined) this.#retained.owe(subscription);
  }

  /** SUBACK is out: the subscription gets what was retained before. */
  readRetained(text: string, start: RetainedStart): void {
    const subscription = this.#subscriptions.get(text);
    if (subscription?.retainedDue !== undefined && !this.#gate.isClosed) this.#retained.read(subscription, start);
  }

  /** It has all retained messages: what was published since may follow. */
  #release(subscription: SessionSubscription): void {
    this.#moved();
    this.#options.retainedRead(subscription.text);
    if (subscription.options.qos > 0) this.pump();
  }

  /** Resolves when live messages of all subscriptions are followed. */
  following(): Promise<void> {
    return this.#subscriptions.following();
  }

  /** Resolves when everything that is stored from now on waits for the groups that the client is in. */
  async inGroups(): Promise<void> {
    await this.#memberships?.ready();
  }

  /** The new subscriptions' filters are in effect; `position` is where the log is now, asked for after {@link following}. */
  begin(position: number): void {
    this.#subscriptions.begin(position);
  }

  /** Deliveries that have begun are finished. [MQTT5 3.10.4-2] [MQTT5 3.10.4-3] [MQTT311 3.10.4-2] */
  unsubscribe(text: string): boolean {
    const subscription = this.#subscriptions.get(text);
    if (subscription === undefined) return false;
    this.#retained.stop(subscription);
    this.#subscriptions.remove(subscription);
    this.#memberships?.leave(text);
    return true;
  }

  subscriptions(): Iterable<SessionSubscription> {
    return this.#subscriptions.all();
  }

  #join(subscription: SessionSubscription): void {
    const { groups } = this.#options;
    if (groups === undefined || subscription.group === undefined) return;
    this.#memberships ??= this.#makeMemberships(groups);
    this.#memberships.join(subscription);
  }

  #makeMemberships(groups: GroupLog): Memberships {
    const { counters, mayServe = () => true, outlet } = this.#options;
    return new Memberships({
      groups,
      counters,
      outbound: this.#outbound,
      outlet,
      sending: this.#sending,
      gate: this.#gate,
      mayServe,
      isDurable: () => this.isDurable,
      save: (done) => this.save(done),
    });
  }

  #closeReaders(): void {
    this.#retained.close();
    this.#subscriptions.closeReaders();
  }

  // ---- the client's acknowledgements ----

  /** @throws MqttError 0x82 when the exchange is one of QoS 2 */
  puback(packetId: number): void {
    this.#acknowledgements.puback(packetId);
  }

  /** @throws MqttError 0x82 when the exchange is one of QoS 1 */
  pubrec(packetId: number, reason: number): void {
    this.#acknowledgements.pubrec(packetId, reason);
  }

  /** @throws MqttError 0x82 when PUBREL is not out */
  pubcomp(packetId: number): void {
    this.#acknowledgements.pubcomp(packetId);
  }

  #finished({ qos, shared }: Delivery): void {
    if (shared === undefined || qos === 2) this.#moved();
    this.pump();
  }

  #moved(): void {
    this.#isMoved = true;
  }

  /** The client may get more: everybody who waited goes on. */
  pump(): void {
    if (this.#gate.isClosed || !this.#gate.isStarted) return;
    if (!this.#resends.isEmpty) return this.#resends.pump();
    this.#retained.pump();
    // What others have delivered already costs no window, and has to be passed to be forgotten.
    if (!this.#gate.mayDeliver && !this.#outbound.isFull) return;
    this.#subscriptions.pump();
    this.#memberships?.pump();
  }
}
