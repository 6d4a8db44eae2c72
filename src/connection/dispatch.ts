/**
 * Packets other than PUBLISH → what handles them. Rejects what the state of the connection does not allow; throws MqttError
 * for the connection to answer.
 */
import type { Shortage } from '../admission/overload.ts';
import type { ConnectingClient, Credentials, Decision } from '../auth/authenticator.ts';
import type { Identity } from '../auth/identity.ts';
import { decodeClientPacket, pingresp } from '../mqtt/codec.ts';
import { decodeConnect, requestedPacketSize, requestedVersion } from '../mqtt/connect.ts';
import { type Framer, paddedLength } from '../mqtt/framing.ts';
import { OutboundAliases } from '../mqtt/outbound-aliases.ts';
import { type ConnectPacket, type DisconnectPacket, PacketType, type ProtocolVersion } from '../mqtt/packet.ts';
import { MqttError, protocolError, Reason } from '../mqtt/reason.ts';
import { acknowledge } from './acknowledge.ts';
import { Authentication } from './authenticate.ts';
import { acceptConnect } from './connect.ts';
import type { Connection } from './connection.ts';
import { subscribe, unsubscribe } from './subscribe.ts';

/** Handles the packet that `framer` stands on. */
export function dispatch(connection: Connection, framer: Framer): void {
  const type = framer.header >> 4;
  const { authentication, client } = connection;
  if (client === undefined) {
    if (authentication !== undefined) return beforeConnack(connection, authentication, framer);
    if (type !== PacketType.connect) throw protocolError('the first packet must be CONNECT'); // [MQTT5 3.1.0-1] [MQTT311 3.1.0-1]
    return startConnect(connection, framer);
  }
  if (type === PacketType.connect) throw protocolError('a second CONNECT'); // [MQTT5 3.1.0-2] [MQTT311 3.1.0-2]
  if (type >= PacketType.puback && type <= PacketType.pubcomp) return acknowledge(connection, client.version, framer);
  const packet = decodeClientPacket(client.version, wholePacket(framer), framer.bodyStart - framer.start);
  switch (packet.cmd) {
    case 'pingreq':
      return connection.send(pingresp); // [MQTT5 3.12.4-1] [MQTT311 3.12.4-1]
    case 'subscribe':
      return subscribe(connection, packet);
    case 'unsubscribe':
      return unsubscribe(connection, packet);
    case 'disconnect':
      return disconnect(connection, packet);
    case 'auth':
      if (authentication === undefined) throw protocolError('AUTH without an authentication method in CONNECT'); // [MQTT5 4.12.0-7]
      return authentication.received(packet);
  }
}

/** What a client with an authentication method may send until it has its CONNACK. [MQTT5 3.1.2-30] */
function beforeConnack(connection: Connection, authentication: Authentication, framer: Framer): void {
  const type = framer.header >> 4;
  if (type !== PacketType.auth && type !== PacketType.disconnect)
    throw protocolError('only AUTH and DISCONNECT may come before CONNACK');
  const packet = decodeClientPacket(5, wholePacket(framer), framer.bodyStart - framer.start);
  if (packet.cmd === 'auth') authentication.received(packet);
  else connection.disconnected(false);
}

function wholePacket(framer: Framer): Buffer {
  return framer.buffer.subarray(framer.start, framer.end);
}

function startConnect(connection: Connection, framer: Framer): void {
  const [frame, bodyOffset] = [wholePacket(framer), framer.bodyStart - framer.start];
  connection.requestedVersion = requestedVersion(frame, bodyOffset);
  framer.refusesPadding = connection.requestedVersion === 5;
  const packet = readConnect(connection, frame, bodyOffset);
  const { node, sender } = connection;
  sender.hasProperties = packet.version === 5;
  sender.explains = packet.version === 5 && packet.requestProblemInformation; // [MQTT5 3.1.2-29]
  sender.maximumPacketSize = packet.maximumPacketSize;
  sender.aliases = outboundAliases(packet, node.limits.outboundTopicAliasMaximum);
  const { shortage } = node.admission;
  if (shortage !== undefined) return shed(connection, shortage);
  const arrival = node.cluster.arrive();
  // The client id, its session and its will are touched only when it is known who asks for them.
  const accept = (identity: Identity): void => {
    connection.identity = identity;
    acceptConnect(connection, packet, arrival).catch((error: unknown) => connection.fail(error));
  };
  connection.beginAccepting();
  const { authenticationData, authenticationMethod, clientId, password, username, version } = packet;
  const client = connectingClient(connection, clientId, version);
  if (authenticationMethod === undefined) return authenticate(connection, client, { username, password }, accept);
  connection.authentication = new Authentication(connection, authenticationMethod, client);
  connection.authentication.begin(authenticationData, accept);
}

/** Apart from {@link startConnect}, whose variables, a password among them, would be kept with it. */
function connectingClient(connection: Connection, clientId: string, version: ProtocolVersion): ConnectingClient {
  return { clientId, version, peer: () => connection.transport.peer, isGone: () => connection.isClosed };
}

/** The node is overloaded: the client may try elsewhere, or later. Before anything is done for it that costs something. */
function shed(connection: Connection, shortage: Shortage): void {
  const { limited } = connection.node.counters;
  if (shortage === 'memory') limited.maxMemoryBytes++;
  else limited.maxEventLoopDelayMs++;
  connection.refuse(new MqttError(Reason.serverBusy, 'the node is overloaded'));
}

/** @throws MqttError for a client that is refused at once */
function authenticate(
  connection: Connection,
  client: ConnectingClient,
  credentials: Credentials,
  accept: (identity: Identity) => void,
): void {
  const decided = (decision: Decision): void => {
    connection.awaits = undefined;
    if (decision.kind === 'refused') throw new MqttError(decision.reason, decision.text); // [MQTT5 3.1.4-2] [MQTT311 3.1.4-2]
    if (!connection.isClosed) accept(decision.identity);
  };
  const decision = connection.node.authenticator.authenticate(client, credentials);
  if (!(decision instanceof Promise)) return decided(decision);
  connection.awaits = 'identity';
  decision.then(decided).catch((error: unknown) => connection.fail(error));
}

/** Of a CONNECT that cannot be read, what its refusal has to respect is read as far as it goes. [MQTT5 3.1.2-24] */
function readConnect(connection: Connection, frame: Buffer, bodyOffset: number): ConnectPacket {
  const { framer } = connection;
  try {
    if (framer.refusesPadding && framer.isPadded) throw paddedLength();
    return decodeConnect(frame, bodyOffset);
  } catch (error) {
    connection.sender.maximumPacketSize = requestedPacketSize(frame, bodyOffset);
    throw error;
  }
}

function disconnect(connection: Connection, packet: DisconnectPacket): void {
  const expiry = packet.sessionExpirySeconds ?? 0;
  if (expiry !== 0 && connection.client?.requestedExpirySeconds === 0) {
    throw protocolError('Session Expiry Interval in DISCONNECT after 0 in CONNECT'); // MQTT5 section 3.14.2.2.2
  }
  if (packet.sessionExpirySeconds !== undefined) connection.changeExpiry(packet.sessionExpirySeconds);
  // [MQTT5 3.14.4-3] [MQTT311 3.14.4-3] a normal goodbye discards the will
  connection.disconnected(packet.reasonCode !== Reason.success);
}

/** None for a client that does not ask for them. [MQTT5 3.1.2-26] [MQTT5 3.1.2-27] */
function outboundAliases(
  { maximumPacketSize, topicAliasMaximum }: ConnectPacket,
  limit: number,
): OutboundAliases | undefined {
  const maximum = Math.min(topicAliasMaximum, limit);
  return maximum === 0 ? undefined : new OutboundAliases(maximum, maximumPacketSize);
}
