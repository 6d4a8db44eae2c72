/**
 * SUBSCRIBE and UNSUBSCRIBE and their acks. Subscriptions take effect at once; SUBACK goes out when the backplane has
 * confirmed them, for many clients with one round trip, and a durable session has them in its record. The granted QoS is at most
 * Maximum QoS.
 */
import type { Subscription } from '../broker/interest.ts';
import { isSubscribeAllowed } from '../broker/walls.ts';
import { encodeSuback, encodeUnsuback, subackLength } from '../mqtt/codec.ts';
import type { QoS, SubscribePacket, SubscriptionRequest, UnsubscribePacket } from '../mqtt/packet.ts';
import { MqttError, protocolError, Reason, type ReasonCode, reasonText } from '../mqtt/reason.ts';
import { hasWildcard, type ParsedFilter, parseFilter, topicExcess } from '../mqtt/topic.ts';
import type { Session } from '../session/session.ts';
import type { Capabilities } from './capabilities.ts';
import type { Connection } from './connection.ts';
import { takeBackRefused } from './refused-filters.ts';
import { oweRetained, sendRetained } from './retained.ts';

/** SUBSCRIBE packets of one client that may wait for their SUBACK; a client that sends more breaks its flow. */
const PENDING_SUBSCRIBES = 1_024;
/** Filters of one SUBSCRIBE that are looked at however few subscriptions a client may have: they can repeat each other, and be replaced. */
const FILTERS_LOOKED_AT = 1_000;
const HIGHEST_GRANTED = 2;
const RETRY_MILLISECONDS = 500;

/** What comes of the filters of one SUBSCRIBE beside their codes. */
interface Outcome {
  /** Filters whose retained messages are to be sent. */
  readonly due: string[];
  /** Why filters were refused, each reason once. */
  readonly refusals: Set<string>;
  /** What was made of those that were granted. */
  readonly entered: Map<SubscriptionRequest, Subscription>;
}

/** @throws MqttError 0x95 when the client would not take the SUBACK: nothing is subscribed then */
export function subscribe(connection: Connection, packet: SubscribePacket): void {
  checkOffered(connection, packet);
  connection.sender.checkFits(subackLength(packet.requests.length), 'SUBACK');
  connection.pendingSubscribes ??= new Set();
  const { pendingSubscribes } = connection;
  if (pendingSubscribes.has(packet.packetId)) {
    return answer(
      connection,
      packet,
      packet.requests.map(() => Reason.packetIdentifierInUse),
      reasonText(Reason.packetIdentifierInUse),
    );
  }
  if (pendingSubscribes.size >= PENDING_SUBSCRIBES)
    throw protocolError(`more than ${PENDING_SUBSCRIBES} SUBSCRIBE packets without SUBACK`);
  const outcome: Outcome = { due: [], refusals: new Set(), entered: new Map() };
  const { subscriptionIdentifier } = packet;
  const lookedAt = Math.max(connection.node.limits.maximumSubscriptions, FILTERS_LOOKED_AT);
  // [MQTT5 3.8.4-5] Of more filters than a client may have the rest is not even looked at: a packet can hold some hundred thousand.
  const codes = packet.requests.map((request, index) =>
    index < lookedAt
      ? grant(connection, request, subscriptionIdentifier, outcome)
      : tooMany(connection, outcome.refusals),
  );
  if (!codes.some((code) => code <= HIGHEST_GRANTED)) return answer(connection, packet, codes, textOf(outcome));
  pendingSubscribes.add(packet.packetId);
  inEffect(connection, () => takeBackRefused(connection, packet.requests, codes, outcome)).then(
    () => {
      pendingSubscribes.delete(packet.packetId);
      answer(connection, packet, codes, textOf(outcome));
      if (outcome.due.length > 0) sendRetained(connection, outcome.due);
    },
    (error: unknown) => connection.fail(error), // closed meanwhile: nothing is left to do
  );
}

/**
 * What CONNACK says is not offered ends the connection, in the words of the standard; a 3.x client has not heard of it: see {@link grant}.
 * [MQTT5 §3.2.2.3.11] [MQTT5 §3.2.2.3.12] [MQTT5 §3.2.2.3.13]
 */
function checkOffered({ client, node: { capabilities } }: Connection, packet: SubscribePacket): void {
  if (client?.version !== 5) return;
  const { sharedSubscriptions, subscriptionIdentifiers, wildcardSubscriptions } = capabilities;
  if (!subscriptionIdentifiers && packet.subscriptionIdentifier !== 0)
    throw new MqttError(Reason.subscriptionIdentifiersNotSupported, 'subscription identifiers are not offered');
  if (sharedSubscriptions && wildcardSubscriptions) return;
  for (const { filter } of packet.requests) {
    const missing = notOffered(parseFilter(filter), capabilities);
    if (missing !== undefined) throw new MqttError(missing, 'a kind of subscription that is not offered');
  }
}

function notOffered(parsed: ParsedFilter | undefined, capabilities: Capabilities): ReasonCode | undefined {
  if (parsed === undefined) return undefined;
  if (parsed.group !== undefined && !capabilities.sharedSubscriptions) return Reason.sharedSubscriptionsNotSupported;
  if (hasWildcard(parsed.filter) && !capabilities.wildcardSubscriptions)
    return Reason.wildcardSubscriptionsNotSupported;
  return undefined;
}

/** @throws MqttError 0x95 when the client would not take the UNSUBACK: nothing is unsubscribed then */
export function unsubscribe(connection: Connection, packet: UnsubscribePacket): void {
  const { client, pendingSubscribes, sender, sessionIfMade: session, subscriptions } = connection;
  if (client === undefined) return;
  sender.checkFits(subackLength(packet.filters.length), 'UNSUBACK');
  if (client.version === 5 && pendingSubscribes?.has(packet.packetId) === true) {
    const inUse = Reason.packetIdentifierInUse; // MQTT 3.x has no word for it
    const refused = packet.filters.map(() => inUse);
    return connection.send(encodeUnsuback(client.version, packet.packetId, refused), reasonText(inUse));
  }
  const codes = packet.filters.map((filter) => {
    if (parseFilter(filter) === undefined) return Reason.topicFilterInvalid; // [MQTT5 3.11.3-2]
    session?.unsubscribe(filter);
    return subscriptions.remove(filter) ? Reason.success : Reason.noSubscriptionExisted;
  });
  // [MQTT5 3.10.4-4] [MQTT5 3.10.4-5] [MQTT311 3.10.4-4]
  const text = codes.includes(Reason.topicFilterInvalid) ? reasonText(Reason.topicFilterInvalid) : undefined;
  const confirm = (): void => connection.send(encodeUnsuback(client.version, packet.packetId, codes), text);
  if (session === undefined || !codes.includes(Reason.success)) confirm();
  else session.save(confirm);
}

function textOf({ refusals }: Outcome): string | undefined {
  return refusals.size === 0 ? undefined : [...refusals].join('; ');
}

/**
 * Resolves when what is published from now on reaches the client, and when nothing that dies can make it forget the subscriptions.
 * `judged` is called when it is known which of them are refused, before the session is saved.
 */
async function inEffect(connection: Connection, judged: () => void): Promise<void> {
  for (;;) {
    try {
      return await confirmed(connection, judged);
    } catch (error) {
      // The backplane does not answer (an election takes seconds): the SUBACK waits with the client.
      if (connection.isClosed) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
  }
}

async function confirmed(connection: Connection, judged: () => void): Promise<void> {
  const { bus, sessions } = connection.node;
  const session = connection.sessionIfMade;
  if (sessions === undefined || session === undefined) {
    await bus.confirm();
    return judged();
  }
  await Promise.all([
    bus.confirm(),
    session.readsLog ? beginAtEnd(connection, session) : undefined,
    session.inGroups(),
  ]);
  judged();
  await new Promise<void>((resolve) => session.save(resolve));
}

/** Where the log is once the subscriptions are known to the server: they begin there. */
async function beginAtEnd({ node: { sessions } }: Connection, session: Session): Promise<void> {
  if (sessions === undefined) return;
  await session.following();
  session.begin((await sessions.log.state()).last);
}

function answer(connection: Connection, packet: SubscribePacket, codes: readonly number[], text?: string): void {
  const version = connection.client?.version;
  if (version === undefined || connection.isClosed) return;
  connection.send(encodeSuback(version, packet.packetId, codes), text); // [MQTT5 3.8.4-6] [MQTT311 3.8.4-5]
}

/** The SUBACK code of one filter; the subscription is in effect when it is a granted QoS. */
function grant(
  connection: Connection,
  request: SubscriptionRequest,
  identifier: number,
  { due, entered, refusals }: Outcome,
): number {
  const { node, sender: subscriber, subscriptions } = connection;
  const refuse = (reason: ReasonCode, text = reasonText(reason)): number => {
    refusals.add(text);
    return reason;
  };
  const parsed = parseFilter(request.filter);
  if (parsed === undefined) return refuse(Reason.topicFilterInvalid); // [MQTT5 4.7.1-1] [MQTT5 4.8.2-1]
  const { filter, group } = parsed;
  const missing = notOffered(parsed, node.capabilities);
  if (missing !== undefined) return refuse(missing);
  if (!isSubscribeAllowed(filter, node.ownInbox))
    return refuse(Reason.notAuthorized, 'not authorized: topic is reserved');
  const permittedQos = connection.access === undefined ? HIGHEST_GRANTED : connection.access.subscribeQos(filter);
  if (permittedQos === undefined) {
    connection.denied('subscribe', request.filter);
    return refuse(Reason.notAuthorized, 'not authorized');
  }
  if (!node.bus.carries(filter)) return refuse(Reason.quotaExceeded, 'quota: topic filter is too long');
  const { limited } = node.counters;
  const excess = topicExcess(filter, node.limits);
  if (excess !== undefined) {
    limited[excess]++;
    return refuse(Reason.topicFilterInvalid, 'topic filter is too long or has too many levels');
  }
  const isNew = subscriptions.get(request.filter) === undefined;
  const { maximumSubscriptions } = node.limits;
  if (isNew && subscriptions.size >= maximumSubscriptions) return tooMany(connection, refusals);
  const { noLocal, retainAsPublished } = request;
  const groups = node.sessions?.groups;
  if (isNew && group !== undefined && groups?.accepts(group, filter) === false) {
    limited.maxGroups++;
    return refuse(Reason.quotaExceeded, 'quota: no more groups on this node');
  }
  // Without a log of groups, members get stored messages as copies on the bus.
  const maximumQos = group !== undefined && groups === undefined ? 0 : node.capabilities.maximumQos; // [MQTT5 3.2.2-10]
  const qos = Math.min(request.qos, maximumQos, permittedQos) as QoS; // both are 0, 1 or 2
  if (noLocal) subscriber.origin = connection.origin;
  if (!remember(connection, request, parsed, { identifier, qos }))
    return refuse(Reason.quotaExceeded, 'quota: the session is too large');
  const text = request.filter;
  entered.set(request, subscriptions.add({ subscriber, text, filter, group, identifier, noLocal, retainAsPublished }));
  // [MQTT5 3.3.1-9] [MQTT5 3.3.1-10] [MQTT5 3.3.1-11] [MQTT5 3.8.4-4] [MQTT311 3.3.1-6] [MQTT311 3.8.4-3]; none for groups [MQTT5 §4.8.2]
  const isDue = request.retainHandling === 0 || (request.retainHandling === 1 && isNew);
  if (isDue && group === undefined && node.capabilities.retainAvailable) oweRetained(connection, request.filter, due);
  return qos;
}

function tooMany({ node: { counters, limits } }: Connection, refusals: Set<string>): ReasonCode {
  counters.limited.maxSubscriptionsPerClient++;
  refusals.add(`quota: more than ${limits.maximumSubscriptions} subscriptions`);
  return Reason.quotaExceeded;
}

/** Enters the subscription in the session, if there is one or has to be; false when its record would become too large. */
function remember(
  connection: Connection,
  { filter: text, noLocal, retainAsPublished, retainHandling }: SubscriptionRequest,
  parsed: ParsedFilter,
  { identifier, qos }: { identifier: number; qos: 0 | 1 | 2 },
): boolean {
  const { sender, sessionIfMade, subscriptions } = connection;
  const isMember = parsed.group !== undefined && connection.node.sessions?.groups !== undefined;
  if (sessionIfMade === undefined && qos === 0 && !isMember) return true;
  const { session } = connection;
  const isNew = session.subscribe(text, parsed, { identifier, noLocal, qos, retainAsPublished, retainHandling });
  if (isNew && session.isDurable && session.recordBytes > (connection.node.sessions?.maximumRecordBytes ?? 0)) {
    session.unsubscribe(text);
    return false;
  }
  if (session.readsLog && !sender.readsLog) {
    sender.readsLog = true;
    subscriptions.rearrange();
  }
  return true;
}
