/**
 * Packets other than PUBLISH → what handles them. Rejects what the state of the connection does not allow; throws MqttError
 * for the connection to answer.
 */
import { decodeClientPacket, decodeConnect, pingresp } from '../mqtt/codec.ts';
import { type Framer, paddedLength } from '../mqtt/framing.ts';
import { type ConnectPacket, type DisconnectPacket, PacketType } from '../mqtt/packet.ts';
import { protocolError, Reason } from '../mqtt/reason.ts';
import { requestedVersion } from '../mqtt/validate.ts';
import { acknowledge } from './acknowledge.ts';
import { acceptConnect } from './connect.ts';
import type { Connection } from './connection.ts';
import { subscribe, unsubscribe } from './subscribe.ts';

/** Handles the packet that `framer` stands on. */
export function dispatch(connection: Connection, framer: Framer): void {
  const type = framer.header >> 4;
  const { client } = connection;
  if (client === undefined) {
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
      // [MQTT5 4.12.0-6] no CONNECT with an authentication method is accepted, so there is nothing to go on with
      throw protocolError('AUTH without an authentication method in CONNECT');
  }
}

function wholePacket(framer: Framer): Buffer {
  return framer.buffer.subarray(framer.start, framer.end);
}

function startConnect(connection: Connection, framer: Framer): void {
  const [frame, bodyOffset] = [wholePacket(framer), framer.bodyStart - framer.start];
  connection.requestedVersion = requestedVersion(frame, bodyOffset);
  framer.refusesPadding = connection.requestedVersion === 5;
  if (framer.refusesPadding && framer.isPadded) throw paddedLength();
  const packet: ConnectPacket = decodeConnect(frame, bodyOffset);
  connection.beginAccepting();
  acceptConnect(connection, packet).catch((error: unknown) => connection.fail(error));
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
