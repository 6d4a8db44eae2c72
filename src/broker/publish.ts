/**
 * Messages from clients → the bus. Turns the topic bytes of a PUBLISH into a route (checked, behind the walls or not,
 * encoded for the bus) and remembers the routes of recent topics, so that a repeated topic costs a map lookup.
 */
import { isUtf8 } from 'node:buffer';
import { BoundedCache } from '../bounded-cache.ts';
import type { Counters } from '../counters.ts';
import type { Extras } from '../message.ts';
import { MqttError, malformed, Reason } from '../mqtt/reason.ts';
import { isTopicName, type TopicLimits, topicExcess } from '../mqtt/topic.ts';
import type { Bus, LogOutcome, LogPublish, RetainedStore, Route } from './ports.ts';
import { DEFAULT_INBOX, isPublishAllowed } from './walls.ts';

/** Characters of remembered topics: about 25,000 usual ones. */
const ROUTE_CHARACTERS = 2 * 1024 * 1024;

export interface PublisherOptions {
  /** Absent when nothing is stored. */
  readonly retained?: RetainedStore | undefined;
  /** First level of the node's own inboxes. */
  readonly ownInbox?: string;
  /** Absent = what the bus carries. */
  readonly limits?: TopicLimits;
}

export class Publisher {
  readonly #bus: Bus;
  readonly #counters: Counters;
  readonly #retained: RetainedStore | undefined;
  readonly #ownInbox: string;
  readonly #limits: TopicLimits | undefined;
  readonly #routes = new BoundedCache<Route>(ROUTE_CHARACTERS);

  constructor(bus: Bus, counters: Counters, { limits, ownInbox = DEFAULT_INBOX, retained }: PublisherOptions = {}) {
    this.#bus = bus;
    this.#retained = retained;
    this.#limits = limits;
    this.#counters = counters;
    this.#ownInbox = ownInbox;
  }

  /**
   * The route of the topic in `buffer`, or undefined when clients may not publish to it.
   * @throws MqttError 0x81 for bytes that are no UTF-8 or contain U+0000, 0x90 for a wildcard or a topic that is too long for the bus
   */
  routeOf(buffer: Buffer, start: number, end: number): Route | undefined {
    // One character per byte: unique per topic, and cheaper to make than the decoded name.
    const key = buffer.toString('latin1', start, end);
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const route = this.route(decodeTopic(buffer.subarray(start, end)));
    if (route !== undefined) this.#routes.add(key, route);
    return route;
  }

  /** Like {@link routeOf} for a topic that is a string already (a will's). */
  route(topic: string): Route | undefined {
    if (!isTopicName(topic)) throw new MqttError(Reason.topicNameInvalid, 'topic name with a wildcard'); // [MQTT5 3.3.2-2] [MQTT311 3.3.2-2]
    if (!isPublishAllowed(topic, this.#ownInbox)) return undefined;
    this.#checkLength(topic);
    const route = this.#bus.route(topic);
    if (route === undefined)
      throw new MqttError(Reason.topicNameInvalid, 'topic name too long or with too many levels');
    return route;
  }

  #checkLength(topic: string): void {
    const excess = this.#limits === undefined ? undefined : topicExcess(topic, this.#limits);
    if (excess === undefined) return;
    this.#counters.limited[excess]++;
    throw new MqttError(Reason.topicNameInvalid, 'topic name too long or with too many levels');
  }

  /** Hands a message to the bus; false asks to stop reading for a while. */
  publish(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean {
    this.#counters.messagesReceived++;
    return this.#bus.publish(route, payload, extras);
  }

  /**
   * The log has the message. A retained one takes its place first, so that who has got it live finds nothing older there; then the copy goes
   * out for those who do not read the log, and `done` is called.
   */
  stored(message: Omit<LogPublish, 'settled'>, sequence: number, done: (outcome: LogOutcome) => void): void {
    const { extras, route } = message;
    if (extras?.retain !== true || this.#retained === undefined) {
      this.#publishCopy(message);
      return done('stored');
    }
    const { expirySeconds, payload, qos } = message;
    this.#retained.put({ route, payload, qos, extras, expirySeconds, sequence }, (outcome) => {
      if (outcome === 'stored') this.#counters.retainedStored++;
      else this.#counters.retainedRefused++;
      this.#publishCopy(message);
      done(outcome);
    });
  }

  /** Not stored after all: to those who are subscribed now, whether they read the log or not. */
  publishAnyway({ extras, payload, route }: Omit<LogPublish, 'settled'>): void {
    this.#bus.publish(route, payload, extras);
  }

  #publishCopy({ extras = nothingBeside, payload, route }: Omit<LogPublish, 'settled'>): void {
    const { origin, properties, retain } = extras;
    this.#bus.publish(route, payload, { properties, retain, origin, isStored: true });
  }

  /** Counts a message that has no route, or none for its client. */
  drop(cause: 'forbiddenTopic' | 'notAuthorized'): void {
    this.#counters.messagesReceived++;
    this.#counters.dropped[cause]++;
  }
}

const nothingBeside: Extras = { properties: Buffer.alloc(0), retain: false, origin: '' };

/** [MQTT5 1.5.4-1] [MQTT311 1.5.3-1] [MQTT5 1.5.4-2] [MQTT311 1.5.3-2] */
function decodeTopic(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw malformed('topic name is not valid UTF-8');
  if (bytes.includes(0)) throw malformed('topic name contains U+0000');
  return bytes.toString('utf8');
}
