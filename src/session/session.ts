/**
 * What a client's session is while its client is connected: subscriptions that read the log, deliveries under way, QoS 2 packets that
 * are not released. A durable session puts its state into the store before the packet leaves that depends on it
 * (docs/session-record.md says which); a session that ends with its connection does the same without the store.
 */
import type { GroupLog, LogRecord, MessageLog, RetainedStore } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import { encodeAcknowledgement } from '../mqtt/acknowledgement.ts';
import { PacketType, type ProtocolVersion } from '../mqtt/packet.ts';
import { protocolError, Reason } from '../mqtt/reason.ts';
import { filtersOverlap, type ParsedFilter, parseFilter } from '../mqtt/topic.ts';
import type { Feeds } from './feeds.ts';
import { Inbound } from './inbound.ts';
import { Memberships, Shared } from './memberships.ts';
import { type Delivery, Outbound } from './outbound.ts';
import { Reader, type RecordSink } from './reader.ts';
import { encodeRecord, type OutboundRecord, type SessionRecord, type SubscriptionRecord } from './record.ts';
import { type RecordKeeper, ttlOf } from './record-keeper.ts';
import { Resends } from './resends.ts';
import { nothingRetained, RetainedCopies, type RetainedStart } from './retained-copies.ts';
import { Sending } from './sending.ts';
import { type Grant, SessionSubscription, type SubscriptionOptions } from './subscription.ts';

/** Where packets for the client go; connection/sender.ts implements it. */
export interface Outlet {
  /** MQTT 5 packets carry properties. */
  readonly hasProperties: boolean;
  /** Bytes; Infinity when the client stated none. */
  readonly maximumPacketSize: number;
  /** Names the client on its own messages. */
  readonly origin: string;
  /** Little enough waits for the client that more may be added. */
  readonly hasRoom: boolean;
  /** Takes one PUBLISH of QoS 0, or drops and counts it. */
  deliver(packet: Buffer, count: number): void;
  /** Takes a packet that must not be dropped. */
  deliverAcknowledged(packet: Buffer): void;
  /** Takes an acknowledgement. */
  send(packet: Buffer): void;
}

export interface SessionOptions {
  readonly clientId: string;
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

/** Messages of groups are asked for when so many places are free, or half of the window. */
const WORTH_ASKING = 64;

export class Session implements RecordSink {
  readonly clientId: string;
  readonly inbound: Inbound;
  expirySeconds: number;
  /** See {@link SessionRecord.wills}. */
  wills: readonly string[] = [];
  readonly #options: SessionOptions;
  readonly #outbound: Outbound;
  readonly #subscriptions = new Map<string, SessionSubscription>();
  /** Made when first used: few clients are in groups. */
  #memberships: Memberships | undefined;
  #keeper: RecordKeeper | undefined;
  readonly #sending: Sending;
  readonly #resends: Resends;
  readonly #retained: RetainedCopies;
  /** Readers that wait for room, lag behind their feed or read the log. */
  readonly #lagging = new Set<Reader>();
  #readsLog = false;
  /** Positions behind it are of messages that the log has lost. */
  #ceiling = Number.POSITIVE_INFINITY;
  #isStarted = false;
  #isClosed = false;
  #isMoved = false;
  /** Reads the log for few free places too. */
  #isHungry = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.clientId = options.clientId;
    this.expirySeconds = options.expirySeconds;
    this.#outbound = new Outbound(options.window);
    this.inbound = new Inbound(options.uid, options.epoch);
    const { counters, log, outlet, retained: store } = options;
    const outbound = this.#outbound;
    const isClosed = (): boolean => this.#isClosed;
    this.#sending = new Sending({ outlet, outbound, counters, log, isClosed, save: (done) => this.save(done) });
    this.#resends = new Resends({
      outbound,
      isClosed,
      read: (delivery) => this.#readAgain(delivery),
      send: (delivery, record) => this.#sendAgain(delivery, record),
      done: () => this.pump(),
    });
    this.#retained = new RetainedCopies({
      store,
      outlet,
      outbound,
      counters,
      sending: this.#sending,
      mayDeliver: () => this.#mayDeliver(),
      done: (subscription) => this.#release(subscription),
    });
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
    return this.#lagging.size > 0;
  }

  // ---- life ----

  /** Makes the session durable: its record is written by `keeper`. */
  keep(keeper: RecordKeeper): void {
    this.#keeper = keeper;
  }

  /** Puts back what the record says, before the client has its CONNACK. */
  restore(record: SessionRecord): void {
    this.#readsLog = record.subscriptions.some(
      ({ options, text }) => options.qos > 0 && parseFilter(text)?.group === undefined,
    );
    for (const subscription of record.subscriptions) this.#restoreSubscription(subscription);
    const readers = this.#allReaders();
    for (const outbound of record.outbound) {
      const delivery = this.#restoreDelivery(outbound, readers);
      const { state } = outbound;
      delivery.state = state;
      this.#resends.add(delivery);
    }
    for (const sequence of record.done) this.#outbound.remember(sequence, readers);
    this.inbound.restore(record.inbound);
  }

  #restoreDelivery(
    { isRetained, packetId, qos, sequence, shared }: OutboundRecord,
    readers: readonly Reader[],
  ): Delivery {
    const outbound = this.#outbound;
    if (isRetained) return outbound.addRetained(sequence, qos, this.#retained.before, packetId);
    if (shared === undefined) return outbound.restore(packetId, sequence, qos, readers);
    return outbound.addShared(sequence, qos, new Shared(shared.text, undefined, shared.claim), packetId);
  }

  /** CONNACK is out, at `now` of the node's clock: what an earlier connection left open goes first. [MQTT5 4.4.0-1] [MQTT311 4.4.0-1] */
  start(now: number): void {
    this.#isStarted = true;
    for (const subscription of this.#subscriptions.values()) {
      const { retainedDue, retainedUntil: until = subscription.start } = subscription;
      if (retainedDue !== undefined) this.#retained.read(subscription, { until, since: now });
    }
    this.pump();
  }

  /** The connection is over. Resolves when the state is in the store, or the session has ended. */
  async close(): Promise<void> {
    const keeper = this.#keeper;
    // The snapshot needs the readers' positions: they stop, and are asked once more.
    this.#isClosed = true;
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
    this.#isClosed = true;
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
    this.#isHungry = true;
    this.#retained.tick();
    this.pump();
  }

  snapshot(writes: number): SessionRecord {
    const { clientId, epoch, logIdentity, owner, uid } = this.#options;
    const isConnected = !this.#isClosed;
    this.#outbound.prune();
    return {
      clientId,
      uid,
      epoch,
      owner: isConnected ? owner : '',
      writes,
      expirySeconds: this.expirySeconds,
      wills: this.wills,
      log: logIdentity,
      subscriptions: [...this.#subscriptions.values()].filter(hasBegun).map((subscription) => ({
        text: subscription.text,
        options: subscription.options,
        start: subscription.start,
        positions: subscription.readers.map(({ position }) => Math.min(position, this.#ceiling)),
        // At QoS 0 what is not sent when the connection ends is not sent at all.
        ...(subscription.options.qos > 0 ? this.#retained.progressOf(subscription) : nothingRetained),
      })),
      outbound: this.#outboundRecords(),
      done: this.#outbound.doneSequences().filter((sequence) => sequence <= this.#ceiling),
      inbound: this.inbound.records(),
    };
  }

  /** PUBREL is owed in any case; a PUBLISH whose message the log has lost can not be sent again. */
  #outboundRecords(): OutboundRecord[] {
    const records = [...this.#outbound.deliveries()]
      // What a group has given with QoS 1 goes to another member when the connection ends.
      .filter(({ qos, shared }) => shared === undefined || qos === 2)
      .map(
        ({ packetId, qos, retained, sequence, shared, state }): OutboundRecord => ({
          packetId,
          sequence,
          qos: qos === 2 ? 2 : 1,
          state: state === 'released' || state === 'releasing' ? 'released' : 'sent',
          isRetained: retained !== undefined,
          ...(shared === undefined ? {} : { shared: { text: shared.text, claim: shared.claim } }),
        }),
      );
    // A retained copy that the log does not know is read anew by its subscription.
    return records.filter(({ sequence, state }) => state === 'released' || (sequence > 0 && sequence <= this.#ceiling));
  }

  // ---- subscriptions ----

  /** Whether stored messages reach the client from the log: from its first subscription with QoS 1 or 2 on, for all of them. */
  get readsLog(): boolean {
    return this.#readsLog;
  }

  /** The log ends at `last` and goes on from there with other messages: nothing behind it was taken. True if something was. */
  setBack(last: number): boolean {
    this.#ceiling = last;
    const taken = [...this.#allReaders().map(({ position }) => position), ...this.#outbound.doneSequences()];
    return taken.some((position) => position > last);
  }

  /** Size of the record of now. */
  get recordBytes(): number {
    return encodeRecord(this.snapshot(0)).length;
  }

  /** Adds a subscription, or replaces the options of a known one and returns false. It gets messages from {@link begin} on. */
  subscribe(text: string, parsed: ParsedFilter, options: SubscriptionOptions): boolean {
    const known = this.#subscriptions.get(text);
    if (known !== undefined) known.replaceOptions(options);
    else this.#add(new SessionSubscription(text, parsed, options));
    if (options.qos > 0 && parsed.group === undefined && !this.#readsLog) this.#beginReading();
    const added = this.#subscriptions.get(text);
    // Also a known one that had QoS 0 up to now.
    if (added !== undefined && this.#readsLog) this.#read(added, undefined);
    return known === undefined;
  }

  /** The retained messages are owed to the client from now on; a resume knows of it too. */
  oweRetained(text: string): void {
    const subscription = this.#subscriptions.get(text);
    if (subscription === undefined || subscription.group !== undefined) return;
    this.#retained.stop(subscription);
    subscription.isNew ||= !hasBegun(subscription);
    subscription.retainedDue = 0;
    subscription.retainedUntil = undefined;
    subscription.retainedDone = [];
  }

  /** SUBACK is out: the subscription gets what was retained before. */
  readRetained(text: string, start: RetainedStart): void {
    const subscription = this.#subscriptions.get(text);
    if (subscription?.retainedDue === undefined || this.#isClosed) return;
    // One that is new begins there, and gets what is behind it from the log.
    const until = subscription.isNew ? subscription.start : start.until;
    this.#retained.read(subscription, { ...start, until });
  }

  /** It has all retained messages: what was published since may follow. */
  #release(subscription: SessionSubscription): void {
    this.#isMoved = true;
    subscription.isNew = false;
    this.#options.retainedRead(subscription.text);
    if (subscription.options.qos > 0) this.pump();
  }

  /** Resolves when live messages of all subscriptions are followed. */
  async following(): Promise<void> {
    await Promise.all(this.#allReaders().map(({ feed }) => feed.opened));
  }

  /** Resolves when everything that is stored from now on waits for the groups that the client is in. */
  async inGroups(): Promise<void> {
    await this.#memberships?.ready();
  }

  /** The new subscriptions' filters are in effect; `position` is where the log is now, asked for after {@link following}. */
  begin(position: number): void {
    for (const subscription of this.#subscriptions.values()) {
      if (!hasBegun(subscription)) subscription.start = position;
      for (const reader of subscription.readers) reader.begin(subscription.start);
    }
  }

  /** Deliveries that have begun are finished. [MQTT5 3.10.4-2] [MQTT5 3.10.4-3] [MQTT311 3.10.4-2] */
  unsubscribe(text: string): boolean {
    const subscription = this.#subscriptions.get(text);
    if (subscription === undefined) return false;
    this.#subscriptions.delete(text);
    this.#retained.stop(subscription);
    for (const other of subscription.overlapping) other.overlapping.splice(other.overlapping.indexOf(subscription), 1);
    for (const reader of subscription.readers) this.#closeReader(reader);
    this.#memberships?.leave(text);
    return true;
  }

  subscriptions(): Iterable<SessionSubscription> {
    return this.#subscriptions.values();
  }

  #restoreSubscription(record: SubscriptionRecord): void {
    const { options, positions, retainedDone, retainedDue, retainedUntil, start, text } = record;
    const parsed = parseFilter(text);
    if (parsed === undefined) return; // a newer version's: it keeps what this one does not know
    const subscription = new SessionSubscription(text, parsed, options);
    subscription.start = start;
    subscription.retainedDue = retainedDue;
    subscription.retainedUntil = retainedUntil;
    subscription.retainedDone = retainedDone;
    this.#add(subscription);
    if (!this.#readsLog) return;
    // QoS 0 is not kept for absent clients: it begins anew.
    this.#read(subscription, options.qos === 0 ? undefined : positions);
    if (options.qos === 0) for (const reader of subscription.readers) reader.begin(0);
  }

  #beginReading(): void {
    this.#readsLog = true;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.options.qos > 0) continue;
      this.#read(subscription, undefined);
      for (const reader of subscription.readers) reader.begin(0);
    }
  }

  #add(subscription: SessionSubscription): void {
    if (subscription.group === undefined) {
      for (const other of this.#subscriptions.values()) {
        if (other.group !== undefined || !filtersOverlap(other.filter, subscription.filter)) continue;
        other.overlapping.push(subscription);
        subscription.overlapping.push(other);
      }
    }
    this.#subscriptions.set(subscription.text, subscription);
    if (subscription.group !== undefined) this.#join(subscription);
  }

  #join(subscription: SessionSubscription): void {
    const { groups } = this.#options;
    if (groups === undefined) return;
    this.#memberships ??= this.#makeMemberships(groups);
    this.#memberships.join(subscription);
  }

  #makeMemberships(groups: GroupLog): Memberships {
    const { counters, mayServe = () => true, outlet } = this.#options;
    return new Memberships({
      groups,
      counters,
      outbound: this.#outbound,
      mayServe,
      isClosed: () => this.#isClosed,
      isDurable: () => this.#keeper !== undefined,
      room: () => (this.#mayDeliver() ? this.#outbound.room : 0),
      roomToAskFor: () => this.#roomFor(WORTH_ASKING),
      waited: (record) => this.#sending.waited(record),
      encode: (record, grant, delivery, waited) => this.#sending.fitting(record, grant, delivery, waited),
      send: (packet) => {
        this.#isHungry = false;
        this.#sending.send(packet);
      },
      sendOnce: (packet) => outlet.deliver(packet, 1),
      save: (done) => this.save(done),
    });
  }

  /** `positions`: where a resumed subscription stands. */
  #read(subscription: SessionSubscription, positions: readonly number[] | undefined): void {
    const { feeds, log } = this.#options;
    if (subscription.group !== undefined || subscription.readers.length > 0) return;
    for (const [index, pattern] of (log.patterns(subscription.filter) ?? []).entries()) {
      const feed = feeds.hold(pattern);
      const position = positions === undefined ? undefined : (positions[index] ?? subscription.start);
      const reader = new Reader({ subscription, feed, log, sink: this, position });
      subscription.readers.push(reader);
      if (position !== undefined) this.#lagging.add(reader);
    }
  }

  #allReaders(): readonly Reader[] {
    return [...this.#subscriptions.values()].flatMap(({ readers }) => readers);
  }

  #closeReader(reader: Reader): void {
    reader.close();
    this.#lagging.delete(reader);
    this.#options.feeds.drop(reader.feed);
  }

  #closeReaders(): void {
    this.#retained.close();
    for (const reader of this.#allReaders()) this.#closeReader(reader);
  }

  // ---- messages out ----

  get room(): number {
    return this.#roomFor(Number.POSITIVE_INFINITY);
  }

  /** Free places; 0 when they are fewer than half of the window and fewer than `enough`. */
  #roomFor(enough: number): number {
    if (this.#isClosed || !this.#isStarted || !this.#resends.isEmpty || !this.#options.outlet.hasRoom) return 0;
    const { capacity, room } = this.#outbound;
    // Reading the log for every single free place would multiply the reads; once a second it is worth it, for a client that works on
    // the rest of its window for long.
    return room >= Math.min(capacity / 2, enough) || this.#outbound.inFlight === 0 || this.#isHungry ? room : 0;
  }

  offer(record: LogRecord, reader: Reader): boolean {
    const { outlet } = this.#options;
    if (this.#outbound.has(record.sequence)) return true;
    const { subscription } = reader;
    const grant = subscription.grant(record, outlet.origin);
    // Of QoS 0 a client that has no CONNACK yet gets nothing. [MQTT5 3.2.0-1] [MQTT311 3.2.0-1]
    if (grant === undefined || (grant.qos === 0 && !this.#isStarted)) return true;
    const waited = this.#sending.waited(record);
    if (this.#sending.isExpired(record, waited)) return true;
    if (subscription.isHeld || (grant.qos > 0 && !this.#mayDeliver())) {
      this.#lagging.add(reader);
      return false;
    }
    this.#isMoved = true;
    if (this.#retained.isReading) this.#retained.live(record);
    this.#deliver(
      record,
      grant,
      subscription.overlapping.length > 0 ? subscription.readersOf(record) : reader.alone,
      waited,
    );
    return true;
  }

  #mayDeliver(): boolean {
    return (
      this.#isStarted &&
      !this.#isClosed &&
      this.#resends.isEmpty &&
      this.#outbound.room > 0 &&
      this.#options.outlet.hasRoom
    );
  }

  #deliver(record: LogRecord, grant: Grant, readers: readonly Reader[], waited: number): void {
    const { sequence } = record;
    if (grant.qos === 0) {
      if (readers.length > 1 && !this.#outbound.isFull) this.#outbound.remember(sequence, readers);
      return this.#sending.atMostOnce(record, grant, waited);
    }
    this.#isHungry = false;
    this.#sending.acknowledged(this.#outbound.add(sequence, grant.qos, readers), record, grant, waited);
    if (this.#outbound.isCrowded) for (const { feed } of readers) this.#options.feeds.look(feed);
  }

  // ---- the client's acknowledgements ----

  /** @throws MqttError 0x82 when the exchange is one of QoS 2 */
  puback(packetId: number): void {
    const delivery = this.#outbound.get(packetId);
    if (delivery === undefined) return; // answered before the connection was taken over, or never sent
    if (delivery.qos !== 1) throw protocolError('PUBACK in an exchange of QoS 2'); // [MQTT5 §4.3]
    this.#finish(delivery);
  }

  /** @throws MqttError 0x82 when the exchange is one of QoS 1 */
  pubrec(packetId: number, reason: number): void {
    const { outlet, version } = this.#options;
    const delivery = this.#outbound.get(packetId);
    if (delivery === undefined) {
      // A code that ends the exchange leaves nothing to release. [MQTT5 4.3.3-4]
      if (reason >= 0x80) return;
      outlet.send(encodeAcknowledgement(PacketType.pubrel, packetId, version, Reason.packetIdentifierNotFound)); // [MQTT5 §3.6.2.1]
      return;
    }
    if (delivery.qos !== 2) throw protocolError('PUBREC in an exchange of QoS 1');
    if (reason >= 0x80) return this.#finish(delivery); // [MQTT5 4.4.0-2]
    if (delivery.state === 'released') return this.#sendPubrel(delivery);
    if (delivery.state !== 'sent') return;
    delivery.state = 'releasing';
    this.save(() => this.#sendPubrel(delivery));
  }

  pubcomp(packetId: number): void {
    const delivery = this.#outbound.get(packetId);
    if (delivery === undefined) return;
    if (delivery.state !== 'released') throw protocolError('PUBCOMP before PUBREL');
    this.#finish(delivery);
  }

  #sendPubrel(delivery: Delivery): void {
    if (this.#isClosed || delivery.packetId === 0) return;
    delivery.state = 'released';
    // [MQTT5 4.3.3-4] [MQTT5 4.3.3-6]
    this.#options.outlet.send(encodeAcknowledgement(PacketType.pubrel, delivery.packetId, this.#options.version));
  }

  #finish(delivery: Delivery): void {
    this.#isMoved ||= delivery.shared === undefined || delivery.qos === 2;
    this.#outbound.finish(delivery);
    delivery.shared?.message?.acknowledge();
    this.pump();
  }

  /** The client may get more: everybody who waited goes on. */
  pump(): void {
    if (this.#isClosed || !this.#isStarted) return;
    if (!this.#resends.isEmpty) return this.#resends.pump();
    this.#retained.pump();
    // What others have delivered already costs no window, and has to be passed to be forgotten.
    if (!this.#mayDeliver() && !this.#outbound.isFull) return;
    for (const reader of this.#lagging) {
      reader.pump();
      if (!reader.isBehind) this.#lagging.delete(reader);
    }
    this.#memberships?.pump();
  }

  proven(): void {
    this.#outbound.prune();
    this.pump();
  }

  /** An earlier node died before the group knew that the message is this client's. */
  async #settleClaim(shared: Shared): Promise<void> {
    if (shared.claim !== '') await this.#options.groups?.acknowledge(shared.claim);
    shared.claim = '';
  }

  /** The message of a delivery that an earlier connection left open. */
  async #readAgain({ sequence, shared, state }: Delivery): Promise<LogRecord | undefined> {
    if (state === 'released') return undefined;
    if (shared !== undefined) await this.#settleClaim(shared);
    return this.#options.log.readAt(sequence);
  }

  #sendAgain(delivery: Delivery, record: LogRecord | undefined): void {
    if (delivery.state === 'done') return;
    if (delivery.state === 'released') return this.#sendPubrel(delivery);
    if (record !== undefined) return this.#sending.again(delivery, record, this.#grantOfResend(record, delivery));
    if (delivery.retained !== undefined) return this.#retained.lost(delivery);
    this.#options.counters.dropped.outOfRetention++;
    this.#outbound.finish(delivery);
  }

  /** What its subscriptions say now; it may have been unsubscribed since. */
  #grantOfResend(record: LogRecord, { retained, shared }: Delivery): Grant {
    const isCopy = retained !== undefined;
    for (const subscription of this.#subscriptions.values()) {
      if (shared === undefined ? subscription.group !== undefined : subscription.text !== shared.text) continue;
      const grant = subscription.matches(record, isCopy) ? subscription.grant(record, '') : undefined;
      if (grant !== undefined) return isCopy ? { ...grant, retainAsPublished: true } : grant;
    }
    return { qos: record.qos, retainAsPublished: isCopy, identifiers: Buffer.alloc(0) };
  }
}

/** A subscription that is not in effect yet is not promised yet either: written now, it would begin at the start of the log. */
function hasBegun({ readers }: SessionSubscription): boolean {
  return readers.every((reader) => reader.hasBegun);
}
