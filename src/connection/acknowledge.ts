/** PUBACK, PUBREC, PUBREL and PUBCOMP from a client → its session. Works on the bytes: no packet objects. */
import { type Acknowledgement, encodeAcknowledgement, readAcknowledgement } from '../mqtt/acknowledgement.ts';
import type { Framer } from '../mqtt/framing.ts';
import { PacketType, type ProtocolVersion } from '../mqtt/packet.ts';
import { protocolError, Reason, reasonText } from '../mqtt/reason.ts';
import type { Connection } from './connection.ts';

const acknowledgement: Acknowledgement = { packetId: 0, reason: 0 };

/** Handles the acknowledgement that `framer` stands on. */
export function acknowledge(connection: Connection, version: ProtocolVersion, framer: Framer): void {
  readAcknowledgement(framer, version, acknowledgement);
  const { packetId, reason } = acknowledgement;
  if (connection.node.sessions === undefined) {
    // Nothing above QoS 0 is ever in flight; MQTT 3.x: no answer says more than silence does.
    if (version === 5) throw protocolError('acknowledgement of a packet that was never sent');
    return;
  }
  const { session } = connection;
  switch (framer.header >> 4) {
    case PacketType.puback:
      return session.puback(packetId);
    case PacketType.pubrec:
      return session.pubrec(packetId, reason);
    case PacketType.pubcomp:
      return session.pubcomp(packetId);
    default:
      return release(connection, version, packetId);
  }
}

/** PUBREL: the packet id is free, durably, before the client hears of it. [MQTT5 4.3.3-11] [MQTT5 4.3.3-12] [MQTT311 4.3.3-2] */
function release(connection: Connection, version: ProtocolVersion, packetId: number): void {
  const { session } = connection;
  if (session.inbound.get(packetId)?.state === 'storing') throw protocolError('PUBREL before PUBREC');
  const isKnown = session.inbound.release(packetId);
  if (isKnown) return session.save(() => connection.send(encodeAcknowledgement(PacketType.pubcomp, packetId, version)));
  const reason = Reason.packetIdentifierNotFound; // [MQTT5 §3.7.2.1]
  connection.send(encodeAcknowledgement(PacketType.pubcomp, packetId, version, reason), reasonText(reason));
}
