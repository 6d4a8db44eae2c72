/**
 * SUBSCRIBE and UNSUBSCRIBE and their acks. Subscriptions take effect at once; SUBACK goes out when the backplane has
 * confirmed them, for many clients with one round trip. Granted QoS is 0: nothing above is available on this node.
 */
import { createHash } from 'node:crypto';
import { isSubscribeAllowed } from '../broker/walls.ts';
import { encodeSuback, encodeUnsuback } from '../mqtt/codec.ts';
import type { SubscribePacket, SubscriptionRequest, UnsubscribePacket } from '../mqtt/packet.ts';
import { protocolError, Reason } from '../mqtt/reason.ts';
import { parseFilter } from '../mqtt/topic.ts';
import type { Connection } from './connection.ts';

/** SUBSCRIBE packets of one client that may wait for their SUBACK; a client that sends more breaks its flow. */
const PENDING_SUBSCRIBES = 1_024;
const GRANTED_QOS_0 = 0;

export function subscribe(connection: Connection, packet: SubscribePacket): void {
  connection.pendingSubscribes ??= new Set();
  const { pendingSubscribes } = connection;
  if (pendingSubscribes.has(packet.packetId)) {
    return answer(
      connection,
      packet,
      packet.requests.map(() => Reason.packetIdentifierInUse),
    );
  }
  if (pendingSubscribes.size >= PENDING_SUBSCRIBES)
    throw protocolError(`more than ${PENDING_SUBSCRIBES} SUBSCRIBE packets without SUBACK`);
  const codes = packet.requests.map((request) => grant(connection, request, packet.subscriptionIdentifier)); // [MQTT5 3.8.4-5]
  if (!codes.includes(GRANTED_QOS_0)) return answer(connection, packet, codes);
  pendingSubscribes.add(packet.packetId);
  connection.node.bus.confirm().then(
    () => {
      pendingSubscribes.delete(packet.packetId);
      answer(connection, packet, codes);
    },
    (error: unknown) => connection.fail(error),
  );
}

export function unsubscribe(connection: Connection, packet: UnsubscribePacket): void {
  const { client, subscriptions } = connection;
  if (client === undefined) return;
  const codes = packet.filters.map((filter) =>
    subscriptions.remove(filter) ? Reason.success : Reason.noSubscriptionExisted,
  );
  connection.send(encodeUnsuback(client.version, packet.packetId, codes)); // [MQTT5 3.10.4-4] [MQTT5 3.10.4-5] [MQTT311 3.10.4-4]
}

function answer(connection: Connection, packet: SubscribePacket, codes: readonly number[]): void {
  const version = connection.client?.version;
  if (version === undefined || connection.isClosed) return;
  // MQTT 3.1.1 knows one failure only. [MQTT311 3.9.3-2]
  const known = version === 5 ? codes : codes.map((code) => Math.min(code, Reason.unspecifiedError));
  connection.send(encodeSuback(version, packet.packetId, known)); // [MQTT5 3.8.4-6] [MQTT311 3.8.4-5]
}

/** The SUBACK code of one filter; the subscription is in effect when it is a granted QoS. */
function grant(connection: Connection, request: SubscriptionRequest, identifier: number): number {
  const { client, node, sender: subscriber, subscriptions } = connection;
  const parsed = parseFilter(request.filter);
  if (parsed === undefined) return Reason.topicFilterInvalid; // [MQTT5 4.7.1-1] [MQTT5 4.8.2-1]
  const { filter, group } = parsed;
  if (!isSubscribeAllowed(filter)) return Reason.notAuthorized;
  if (!node.bus.carries(filter)) return Reason.quotaExceeded;
  const isNew = subscriptions.get(request.filter) === undefined;
  if (isNew && subscriptions.size >= node.limits.maximumSubscriptions) return Reason.quotaExceeded;
  const { noLocal, retainAsPublished } = request;
  if (noLocal && client !== undefined) subscriber.origin = originOf(client.id);
  subscriptions.add({ subscriber, text: request.filter, filter, group, identifier, noLocal, retainAsPublished });
  return GRANTED_QOS_0;
}

/** Names a client on its messages without telling its id: 96 bits of a hash. Only clients with a No Local subscription need it. */
function originOf(clientId: string): string {
  return createHash('sha256').update(clientId).digest('base64url').slice(0, 16);
}
