/**
 * Receiver role (MQTT 5 section 4.3): PUBLISH in. Works on the bytes of the socket chunk: no packet object, the payload a
 * view, and nothing is checked twice while a client stays with a topic. QoS 0 goes to the bus at once, QoS 1 and 2 to the log
 * (intake.ts), as far as CONNACK has offered that.
 */
import { isUtf8 } from 'node:buffer';
import type { Route } from '../broker/ports.ts';
import type { Extras } from '../message.ts';
import type { Framer } from '../mqtt/framing.ts';
import { noPublishProperties, type PublishProperties, scanPublishProperties } from '../mqtt/properties.ts';
import { Reader } from '../mqtt/reader.ts';
import { MqttError, malformed, protocolError, Reason } from '../mqtt/reason.ts';
import { InboundAliases } from '../mqtt/topic-alias.ts';
import type { Connection } from './connection.ts';

const RETAIN = 0x01;
const DUP = 0x08;

/** A topic that clients may not publish to, as an alias can name it. */
const forbidden = Symbol('forbidden topic');
/** QoS and RETAIN, as `publishBit` has them. */
const QOS_AND_RETAIN = 0x07;

/** Where a message goes, or why it goes nowhere: its topic is behind the walls, or not for this client. */
type Place = Route | 'forbidden' | 'denied';

export class Receiver {
  readonly #connection: Connection;
  readonly #isVersion5: boolean;
  readonly #aliasMaximum: number;
  #aliases: InboundAliases<Route | typeof forbidden> | undefined;
  /** Route of the last topic: the same bytes again need no check. */
  #lastRoute: Route | undefined;

  constructor(connection: Connection, aliasMaximum: number) {
    this.#connection = connection;
    this.#isVersion5 = connection.client?.version === 5;
    this.#aliasMaximum = aliasMaximum;
  }

  /**
   * Handles the PUBLISH that `framer` stands on.
   * @throws MqttError for everything that NORMATIVE rules of PUBLISH name
   */
  publish(framer: Framer): void {
    const { buffer, bodyStart, end, header } = framer;
    if ((header & RETAIN) !== 0) this.#checkRetain();
    if (end - bodyStart < 2) throw malformed('PUBLISH without topic name');
    const topicEnd = bodyStart + 2 + (buffer[bodyStart] ?? 0) * 256 + (buffer[bodyStart + 1] ?? 0);
    if (topicEnd > end) throw malformed('topic name runs past the packet');
    if ((header & 0x0e) !== 0) return this.#publishAcknowledged(framer, topicEnd);
    if (this.#isVersion5 && (topicEnd === end || buffer[topicEnd] !== 0))
      return this.#publishWithProperties(framer, topicEnd);
    const place = this.#permitted(this.#routeOf(buffer, bodyStart, topicEnd), header);
    const payload = buffer.subarray(this.#isVersion5 ? topicEnd + 1 : topicEnd, end);
    if ((header & RETAIN) !== 0) return this.#retain(place, payload, noPublishProperties);
    this.#accept(place, payload, this.#extras(noPublishProperties.forward, header));
  }

  #publishWithProperties(framer: Framer, topicEnd: number): void {
    const { buffer, bodyStart, end, header } = framer;
    const reader = new Reader(buffer, topicEnd, end);
    const properties = scanProperties(reader);
    const place = this.#permitted(this.#resolveAlias(properties.topicAlias, buffer, bodyStart, topicEnd), header);
    const payload = buffer.subarray(reader.position, end);
    if (properties.payloadFormatIsUtf8 && !this.#isSound(payload))
      throw new MqttError(Reason.payloadFormatInvalid, 'the payload is not UTF-8'); // [MQTT5 §3.3.2.3.2]
    if ((header & RETAIN) !== 0) return this.#retain(place, payload, properties);
    this.#accept(place, payload, this.#extras(properties.forward, header));
  }

  /** QoS 1 and 2. What is kept of the packet is copied. */
  #publishAcknowledged(framer: Framer, topicEnd: number): void {
    const { buffer, bodyStart, end, header } = framer;
    const qos = this.#checkQos(header);
    if (topicEnd + 2 > end) throw malformed('PUBLISH without packet id');
    const packetId = (buffer[topicEnd] ?? 0) * 256 + (buffer[topicEnd + 1] ?? 0);
    if (packetId === 0) throw protocolError('packet id 0'); // [MQTT5 2.2.1-3] [MQTT311 2.3.1-1]
    const reader = new Reader(buffer, topicEnd + 2, end);
    const properties = this.#isVersion5 ? scanProperties(reader) : noPublishProperties;
    const route = this.#resolveAlias(properties.topicAlias, buffer, bodyStart, topicEnd);
    const { messageExpirySeconds: expirySeconds } = properties;
    const forward = properties.forward.length === 0 ? properties.forward : Buffer.from(properties.forward);
    const extras = { properties: forward, retain: (header & RETAIN) !== 0, origin: this.#connection.origin };
    const payload = Buffer.from(buffer.subarray(reader.position, end));
    const isSound = !properties.payloadFormatIsUtf8 || this.#isSound(payload);
    const place = isSound ? this.#permitted(route, header) : 'payloadInvalid';
    this.#connection.intake.take({ packetId, qos, route: place, payload, extras, expirySeconds });
  }

  /** What the rules say of a message to this route; asked for every message, as topics by an alias are too. */
  #permitted(route: Route | undefined, header: number): Place {
    if (route === undefined) return 'forbidden';
    const { access } = this.#connection;
    if (access === undefined || access.mayPublish(route.name, header & QOS_AND_RETAIN)) return route;
    this.#connection.denied('publish', route.name);
    return 'denied';
  }

  #accept(place: Place, payload: Uint8Array, extras: Extras | undefined): void {
    const { node } = this.#connection;
    if (place === 'forbidden') return node.publisher.drop('forbiddenTopic');
    if (place === 'denied') return node.publisher.drop('notAuthorized');
    if (this.#connection.retainingIfMade?.follow(place, payload, extras) === true) return;
    if (!node.publisher.publish(place, payload, extras)) node.connections.pause(this.#connection);
  }

  /** Whether a payload that says that it is UTF-8 is, as far as this server looks at all. */
  #isSound(payload: Buffer): boolean {
    return !this.#connection.node.capabilities.checkPayloadFormat || isUtf8(payload);
  }

  /** QoS 0 with RETAIN; where nothing is retained it is an ordinary message (of MQTT 3.x: CONNACK has no word for it). */
  #retain(place: Place, payload: Uint8Array, { forward, messageExpirySeconds }: PublishProperties): void {
    const { node, origin, retaining } = this.#connection;
    if (!node.capabilities.retainAvailable || typeof place === 'string')
      return this.#accept(place, payload, this.#extras(forward, RETAIN));
    const extras = { properties: Buffer.from(forward), retain: true, origin };
    retaining.take({ route: place, payload: Buffer.from(payload), extras, expirySeconds: messageExpirySeconds });
  }

  /** What travels beside topic and payload; mostly nothing. */
  #extras(properties: Buffer, header: number): Extras | undefined {
    const retain = (header & RETAIN) !== 0;
    const hasOrigin = this.#connection.hasNoLocal;
    if (properties.length === 0 && !retain && !hasOrigin) return undefined;
    return { properties, retain, origin: hasOrigin ? this.#connection.origin : '' };
  }

  /** Undefined for a topic behind the walls. `start` is where the length bytes are. */
  #routeOf(buffer: Buffer, start: number, end: number): Route | undefined {
    const last = this.#lastRoute;
    if (last !== undefined && equalsEncoded(last.encoded, buffer, start, end)) return last;
    if (end - start === 2) this.#refuseEmptyTopic();
    const route = this.#connection.node.publisher.routeOf(buffer, start + 2, end);
    this.#lastRoute = route;
    return route;
  }

  #resolveAlias(alias: number, buffer: Buffer, start: number, end: number): Route | undefined {
    if (alias === 0) return this.#routeOf(buffer, start, end);
    this.#aliases ??= new InboundAliases(this.#aliasMaximum);
    if (end - start === 2) {
      const known = this.#aliases.get(alias);
      return known === forbidden ? undefined : known;
    }
    const route = this.#routeOf(buffer, start, end);
    this.#aliases.set(alias, route ?? forbidden);
    return route;
  }

  /** [MQTT311 4.7.3-1]; MQTT 5 asks for an alias. */
  #refuseEmptyTopic(): never {
    if (this.#isVersion5) throw protocolError('empty topic name without topic alias');
    throw malformed('empty topic name');
  }

  #checkQos(header: number): 1 | 2 {
    const qos = (header >> 1) & 3;
    if (qos === 3) throw malformed('QoS 3'); // [MQTT5 3.3.1-4] [MQTT311 3.3.1-4]
    if (qos === 0 && (header & DUP) !== 0) throw malformed('DUP with QoS 0'); // [MQTT5 3.3.1-2] [MQTT311 3.3.1-2]
    // [MQTT5 3.2.2-11]; a 3.x client cannot be told, and must not take silence or an acknowledgement for storage: it is closed
    const { maximumQos } = this.#connection.node.capabilities;
    if (qos > maximumQos) throw new MqttError(Reason.qosNotSupported, `QoS ${qos} above Maximum QoS ${maximumQos}`);
    return qos === 2 ? 2 : 1;
  }

  #checkRetain(): void {
    const { capabilities, counters } = this.#connection.node;
    if (capabilities.retainAvailable) return;
    if (this.#isVersion5) throw new MqttError(Reason.retainNotSupported, 'RETAIN is not available'); // [MQTT5 3.2.2-14]
    counters.retainIgnored++;
  }
}

/** Reads the properties with their length and leaves the reader behind them. */
function scanProperties(reader: Reader): PublishProperties {
  const length = reader.varint();
  const start = reader.position;
  if (start + length > reader.end) throw malformed('properties run past the packet');
  reader.position = start + length;
  return scanPublishProperties(reader.buffer, start, start + length);
}

/** Compares from the end, where topics of one client differ. */
function equalsEncoded(encoded: Buffer, buffer: Buffer, start: number, end: number): boolean {
  let i = encoded.length;
  if (i !== end - start) return false;
  while (i > 0) {
    i--;
    if (encoded[i] !== buffer[start + i]) return false;
  }
  return true;
}
