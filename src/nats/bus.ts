/**
 * The Bus on core NATS: bare payloads on mapped subjects, one NATS subscription per interest, a queue subscription per
 * group member. Callbacks and views throughout; nothing is awaited and no promise is made per message.
 */
import type { Msg, MsgHdrs, NatsConnection, Subscription as NatsSubscription } from 'nats';
import { BoundedCache } from '../bounded-cache.ts';
import type {
  Bus,
  BusDeliver,
  BusEvents,
  BusSubscription,
  Route,
  SubscriptionRefusal,
  Unsubscribe,
} from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import { type Extras, makeTopic, type Topic } from '../message.ts';
import { startsWithWildcard } from '../mqtt/topic.ts';
import { decodeExtras, encodeExtras, extrasBytes, keptHeaders } from './envelope.ts';
import { SharedRoundTrip } from './flush.ts';
import { headerBlock } from './raw-message.ts';
import { RefusedSubscriptions } from './refused-subscriptions.ts';
import { encodeGroup, type SubjectMap } from './subject.ts';
import { askAgainFor } from './wire/connect.ts';

/** Kept free of the server's max_payload for what the NATS message carries beside the MQTT packet's own bytes. */
const HEADROOM_BYTES = 1024;
/** Bytes of a PUB line beside subject and payload. */
const LINE_BYTES = 16;
/** One flush per so many published bytes tells how far the server has come. */
const PROBE_BYTES = 256 * 1024;
/** How long {@link NatsBus.close} waits for the server. */
const CLOSE_MILLISECONDS = 1_000;
/** Characters of remembered subjects: about 25,000 usual ones. */
const TOPIC_CHARACTERS = 2 * 1024 * 1024;

/** A route of this bus; the log stores under the same subject. */
export interface NatsRoute extends Route {
  readonly subject: string;
}

/** One subject of a filter. */
interface Part {
  readonly held: NatsSubscription;
  /** Of {@link RefusedSubscriptions.keyOf}. */
  readonly key: string;
}

export interface NatsBusOptions {
  readonly connection: NatsConnection;
  readonly subjects: SubjectMap;
  readonly refusals: RefusedSubscriptions;
  readonly counters: Counters;
  readonly events: BusEvents;
  /** Bytes that may be under way to the server before publishers are paused. */
  readonly maximumInFlightBytes: number;
}

export class NatsBus implements Bus {
  readonly #connection: NatsConnection;
  readonly #subjects: SubjectMap;
  readonly #refusals: RefusedSubscriptions;
  readonly #counters: Counters;
  readonly #events: BusEvents;
  readonly #maximumInFlight: number;
  readonly #topics = new BoundedCache<Topic>(TOPIC_CHARACTERS);
  #isConnected = true;
  /** Bytes handed to the client library, up to the last probe, and up to the last probe that came back. */
  #published = 0;
  #probed = 0;
  #confirmed = 0;
  #isHoldingBack = false;
  #maximumPayload: number;
  readonly #flushes = new SharedRoundTrip(() => this.#flush());
  #reconnected: Array<() => void> = [];
  /** By origin. */
  readonly #copyHeaders = new BoundedCache<MsgHdrs>(TOPIC_CHARACTERS);

  constructor(options: NatsBusOptions) {
    this.#connection = options.connection;
    this.#maximumPayload = options.connection.info?.max_payload ?? 0;
    this.#subjects = options.subjects;
    this.#refusals = options.refusals;
    this.#counters = options.counters;
    this.#events = options.events;
    this.#maximumInFlight = options.maximumInFlightBytes;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  route(topic: string): NatsRoute | undefined {
    const subject = this.#subjects.encodeTopic(topic);
    return subject === undefined ? undefined : { ...makeTopic(topic), subject };
  }

  carries(filter: string): boolean {
    return this.#subjects.encodeFilter(filter) !== undefined;
  }

  maximumPacketSize(): number {
    // Unknown while the library dials: the last server's is the best guess then.
    this.#maximumPayload = this.#connection.info?.max_payload ?? this.#maximumPayload;
    return this.#maximumPayload - HEADROOM_BYTES;
  }

  publish(route: NatsRoute, payload: Uint8Array, extras: Extras | undefined): boolean {
    // A publish while disconnected would vanish without a sign.
    if (!this.#isConnected) {
      this.#counters.dropped.busDisconnected++;
      return true;
    }
    const size = payload.length + (extras === undefined ? 0 : extrasBytes(extras));
    if (size > (this.#connection.info?.max_payload ?? 0)) {
      this.#counters.dropped.tooLargeForBus++;
      return true;
    }
    this.#counters.busPublished++;
    if (extras === undefined) this.#connection.publish(route.subject, payload);
    else this.#connection.publish(route.subject, payload, { headers: this.#headersOf(extras) });
    this.#published += size + route.subject.length + LINE_BYTES;
    if (this.#published - this.#probed < PROBE_BYTES) return !this.#isHoldingBack;
    return this.#probe();
  }

  /** Copies of one client's messages without properties have the same headers. */
  #headersOf(extras: Extras): MsgHdrs {
    const { isStored, origin, properties, retain } = extras;
    if (properties.length > 0 || retain || isStored !== true) return encodeExtras(extras);
    const known = this.#copyHeaders.get(origin);
    if (known !== undefined) return known;
    const made = encodeExtras(extras, keptHeaders);
    this.#copyHeaders.add(origin, made);
    return made;
  }

  subscribe(filter: string, deliver: BusDeliver): BusSubscription {
    const parts = this.#subscribe(filter, undefined, deliver);
    return { askAgain: () => this.#askAgain(parts), end: () => this.#end(parts) };
  }

  subscribeGroup(name: string, filter: string, deliver: BusDeliver): Unsubscribe {
    const parts = this.#subscribe(filter, encodeGroup(name), deliver);
    return () => this.#end(parts);
  }

  refusal(filter: string, group?: string): SubscriptionRefusal | undefined {
    if (this.#refusals.isEmpty) return undefined;
    const queue = group === undefined ? undefined : encodeGroup(group);
    for (const subject of this.#subjects.encodeFilter(filter) ?? []) {
      const refusal = this.#refusals.refusalOf(RefusedSubscriptions.keyOf(subject, queue));
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  /** The own server has all subscriptions then; other servers of the cluster learn of them within milliseconds. */
  confirm(): Promise<void> {
    return this.#flushes.begin();
  }

  /** Called by client.ts when the connection is lost: from here on messages are dropped and counted. */
  disconnected(): void {
    if (!this.#isConnected) return;
    this.#isConnected = false;
    this.#refusals.disconnected();
    this.#events.disconnected();
    this.#catchUp(this.#published);
  }

  /** Called by client.ts when the connection is back; the library has sent the subscriptions again. */
  reconnected(): void {
    this.#isConnected = true;
    this.#counters.busReconnects++;
    for (const resolve of this.#reconnected.splice(0)) resolve();
    this.judge();
    this.#events.connected();
  }

  /** What NATS has been asked for, by whoever, is confirmed or refused a round trip later. */
  judge(): void {
    // Rejects when the bus is closed: nobody waits for it.
    this.confirm().catch(() => {});
  }

  /** What was published is with the server before the connection ends, if it answers in time. */
  async close(): Promise<void> {
    const flushed = this.#isConnected ? this.#connection.flush().catch(() => {}) : undefined;
    this.#isConnected = false;
    await Promise.race([flushed, new Promise((resolve) => setTimeout(resolve, CLOSE_MILLISECONDS).unref())]);
    await this.#connection.close();
  }

  #subscribe(filter: string, queue: string | undefined, deliver: BusDeliver): Part[] {
    const subjects = this.#subjects.encodeFilter(filter);
    if (subjects === undefined) throw new Error('filter that the bus does not carry');
    return subjects.map((subject) => {
      const callback = this.#receiver(filter, subject, deliver);
      const key = RefusedSubscriptions.keyOf(subject, queue);
      this.#refusals.hold(key);
      return {
        key,
        held: this.#connection.subscribe(subject, queue === undefined ? { callback } : { queue, callback }),
      };
    });
  }

  #askAgain(parts: readonly Part[]): void {
    for (const { held, key } of parts) {
      this.#refusals.askAgain(key);
      askAgainFor(this.#connection, held);
    }
  }

  #end(parts: Part[]): void {
    for (const { held, key } of parts.splice(0)) {
      this.#refusals.drop(key);
      if (!this.#connection.isClosed()) held.unsubscribe();
    }
  }

  /** What NATS calls for each message of one subscription; a subject without wildcard needs no look at the message's. */
  #receiver(filter: string, subject: string, deliver: BusDeliver): (error: Error | null, message: Msg) => void {
    const isExact = !(filter.includes('+') || subject.endsWith('>') || subject === '*');
    const fixed = isExact ? makeTopic(this.#subjects.decodeSubject(subject) ?? filter) : undefined;
    const isOpen = startsWithWildcard(filter);
    return (error, message) => {
      if (error !== null) return;
      // A wildcard lets in inboxes, KV values and API calls of the whole account: no client ever sees them.
      if (isOpen && this.#subjects.startsWithHidden(message.subject)) return;
      this.#counters.busReceived++;
      const topic = fixed ?? this.#topicOf(message.subject);
      if (topic !== undefined) this.#deliver(topic, message, deliver);
    };
  }

  #deliver(topic: Topic, message: Msg, deliver: BusDeliver): void {
    const block = headerBlock(message);
    if (block === '') return deliver(topic, message.data, undefined);
    let extras: Extras | undefined;
    try {
      extras = decodeExtras(block);
    } catch {
      // A NATS application's header that no client could have sent: the message goes no further.
      this.#counters.dropped.notMqtt++;
      return;
    }
    deliver(topic, message.data, extras);
  }

  /** Undefined for subjects that no topic maps to. */
  #topicOf(subject: string): Topic | undefined {
    const known = this.#topics.get(subject);
    if (known !== undefined) return known;
    const name = this.#subjects.decodeSubject(subject);
    if (name === undefined) {
      this.#counters.dropped.notMqtt++;
      return undefined;
    }
    const topic = makeTopic(name);
    this.#topics.add(subject, topic);
    return topic;
  }

  /** Asks how far the server is; with too much under way the publishers are held back until it answers. */
  #probe(): boolean {
    const mark = this.#published;
    this.#probed = mark;
    // A flush that fails belongs to a lost connection: nothing of it is under way any more.
    this.#connection.flush().then(
      () => this.#catchUp(mark),
      () => this.#catchUp(mark),
    );
    // Only #catchUp ends it, which lets those go on who are held back.
    if (mark - this.#confirmed > this.#maximumInFlight) this.#isHoldingBack = true;
    return !this.#isHoldingBack;
  }

  #catchUp(mark: number): void {
    this.#confirmed = Math.max(this.#confirmed, mark);
    if (!this.#isHoldingBack || this.#published - this.#confirmed > this.#maximumInFlight / 2) return;
    this.#isHoldingBack = false;
    this.#events.writable();
  }

  /** A flush that outlives a lost connection: it is asked again on the next one. */
  async #flush(): Promise<void> {
    for (;;) {
      if (!this.#isConnected) await new Promise<void>((resolve) => this.#reconnected.push(resolve));
      const judged = this.#refusals.judging();
      try {
        await this.#connection.flush();
        return judged();
      } catch (error) {
        if (this.#connection.isClosed()) throw error;
        if (this.#isConnected) this.disconnected();
      }
    }
  }
}
