/**
 * CONNECT: the ordered steps to CONNACK, and the refusals. Check what was asked → settle the client id → check the will →
 * claim the client id in the cluster (the old connection is closed by then) → CONNACK.
 */
import { randomUUID } from 'node:crypto';
import { encodeConnack, encodeConnackRefusal, encodeUnsupportedVersion } from '../mqtt/codec.ts';
import type { ConnackOptions, ConnectPacket } from '../mqtt/packet.ts';
import { MqttError, Reason } from '../mqtt/reason.ts';
import { UnsupportedVersionError } from '../mqtt/validate.ts';
import { acceptWill } from '../session/will.ts';
import type { Connection } from './connection.ts';

/** Works a CONNECT through; rejects with an MqttError for a refusal. */
export async function acceptConnect(connection: Connection, packet: ConnectPacket): Promise<void> {
  const { node, sender } = connection;
  if (packet.authenticationMethod !== undefined) {
    throw new MqttError(Reason.badAuthenticationMethod, 'authentication methods are not supported'); // [MQTT5 4.12.0-1]
  }
  if (!node.bus.isConnected)
    throw new MqttError(Reason.serverUnavailable, 'the node is not connected to its backplane');
  const clientId = settleClientId(packet, node.limits.maximumClientIdBytes);
  const will = packet.will === undefined ? undefined : acceptWill(packet.will, packet.version, node.publisher);
  sender.hasProperties = packet.version === 5;
  sender.maximumPacketSize = packet.maximumPacketSize;
  const claim = await node.cluster.claim(clientId, () => connection.takenOver());
  if (connection.isClosed) return claim.release();
  connection.will = will;
  node.counters.connectsAccepted++;
  const keepAliveSeconds = enforcedKeepAlive(packet.keepAliveSeconds, node.limits.maximumKeepAliveSeconds);
  connection.send(encodeConnack(packet.version, connackOf(connection, packet, clientId, keepAliveSeconds)));
  const { version, sessionExpirySeconds: requestedExpirySeconds } = packet;
  const client = { id: clientId, version, requestedExpirySeconds, claim };
  connection.connected(client, keepAliveSeconds);
  connection.debug('accepted', 'The client is connected', { version, keepAliveSeconds });
}

/** Says why a CONNECT is refused, in a form that its sender can read, or says nothing where there is none. */
export function refuseConnect(connection: Connection, error: MqttError): void {
  connection.node.counters.connectsRefused++;
  const packet = refusalOf(connection, error);
  if (packet !== undefined) connection.sender.send(packet);
}

function refusalOf(connection: Connection, error: MqttError): Buffer | undefined {
  if (error instanceof UnsupportedVersionError) return encodeUnsupportedVersion(error.level); // [MQTT5 3.1.2-2] [MQTT311 3.1.2-2]
  const version = connection.requestedVersion;
  return version === undefined ? undefined : encodeConnackRefusal(version, error.reason, error.message);
}

/** @throws MqttError 0x85 for an id that is refused */
function settleClientId(packet: ConnectPacket, maximumBytes: number): string {
  const { cleanStart, clientId, version } = packet;
  if (Buffer.byteLength(clientId) > maximumBytes) {
    throw new MqttError(Reason.clientIdentifierNotValid, `client id of more than ${maximumBytes} bytes`); // [MQTT5 3.1.3-8] [MQTT311 3.1.3-9]
  }
  if (clientId !== '') return clientId;
  if (version === 3 || (version === 4 && !cleanStart)) {
    throw new MqttError(Reason.clientIdentifierNotValid, 'empty client id without clean session'); // [MQTT311 3.1.3-8]
  }
  return `auto-${randomUUID()}`; // [MQTT5 3.1.3-6] [MQTT311 3.1.3-6]
}

/** [MQTT5 3.2.2-21] 0 means never, and is above every limit. */
function enforcedKeepAlive(requested: number, maximum: number): number {
  if (maximum === 0) return requested;
  return requested === 0 || requested > maximum ? maximum : requested;
}

function connackOf(
  connection: Connection,
  packet: ConnectPacket,
  clientId: string,
  keepAliveSeconds: number,
): ConnackOptions {
  const { bus, limits } = connection.node;
  return {
    sessionPresent: false, // [MQTT5 3.2.2-2] [MQTT5 3.2.2-3] [MQTT311 3.2.2-1]
    maximumQoS: 0, // [MQTT5 3.2.2-9]
    retainAvailable: false,
    maximumPacketSize: Math.min(limits.maximumPacketSize, bus.maximumPacketSize()),
    topicAliasMaximum: limits.topicAliasMaximum,
    ...(packet.sessionExpirySeconds === 0 ? {} : { sessionExpirySeconds: 0 }), // MQTT5 section 3.2.2.3.2
    ...(packet.clientId === '' ? { assignedClientId: clientId } : {}), // [MQTT5 3.1.3-7]
    ...(keepAliveSeconds === packet.keepAliveSeconds ? {} : { serverKeepAliveSeconds: keepAliveSeconds }),
  };
}
