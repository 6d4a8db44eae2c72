/**
 * What the client answers to deliveries of QoS 1 and 2: PUBACK, and the handshake PUBREC → PUBREL → PUBCOMP. session.ts hands the answers in;
 * PUBREL leaves only when the record says that it is owed.
 */
import { encodeAcknowledgement } from '../mqtt/acknowledgement.ts';
import { PacketType, type ProtocolVersion } from '../mqtt/packet.ts';
import { protocolError, Reason, reasonText } from '../mqtt/reason.ts';
import type { Gate } from './gate.ts';
import type { Delivery, Outbound } from './outbound.ts';
import type { Outlet } from './outlet.ts';

export interface AcknowledgementsOptions {
  readonly version: ProtocolVersion;
  readonly outbound: Outbound;
  readonly outlet: Outlet;
  readonly gate: Gate;
  /** Calls `done` when the session's state is safe; at once for a session that ends with its connection. */
  readonly save: (done: () => void) => void;
  /** The client has acknowledged it for good, and may get more. */
  readonly finished: (delivery: Delivery) => void;
}

export class Acknowledgements {
  readonly #options: AcknowledgementsOptions;

  constructor(options: AcknowledgementsOptions) {
    this.#options = options;
  }

  /** @throws MqttError 0x82 when the exchange is one of QoS 2 */
  puback(packetId: number): void {
    const delivery = this.#options.outbound.get(packetId);
    if (delivery === undefined) return; // answered before the connection was taken over, or never sent
    if (delivery.qos !== 1) throw protocolError('PUBACK in an exchange of QoS 2'); // [MQTT5 §4.3]
    this.#finish(delivery);
  }

  /** @throws MqttError 0x82 when the exchange is one of QoS 1 */
  pubrec(packetId: number, reason: number): void {
    const { outbound, outlet, save, version } = this.#options;
    const delivery = outbound.get(packetId);
    if (delivery === undefined) {
      // A code that ends the exchange leaves nothing to release. [MQTT5 4.3.3-4]
      if (reason >= 0x80) return;
      const unknown = Reason.packetIdentifierNotFound; // [MQTT5 §3.6.2.1]
      outlet.send(encodeAcknowledgement(PacketType.pubrel, packetId, version, unknown), reasonText(unknown));
      return;
    }
    if (delivery.qos !== 2) throw protocolError('PUBREC in an exchange of QoS 1');
    if (reason >= 0x80) return this.#finish(delivery); // [MQTT5 4.4.0-2]
    if (delivery.state === 'released') return this.sendPubrel(delivery);
    if (delivery.state !== 'sent') return;
    delivery.state = 'releasing';
    save(() => this.sendPubrel(delivery));
  }

  /** @throws MqttError 0x82 when PUBREL is not out */
  pubcomp(packetId: number): void {
    const delivery = this.#options.outbound.get(packetId);
    if (delivery === undefined) return;
    if (delivery.state !== 'released') throw protocolError('PUBCOMP before PUBREL');
    this.#finish(delivery);
  }

  /** Also on another connection than that of the PUBREC. [MQTT5 4.3.3-4] [MQTT5 4.3.3-6] */
  sendPubrel(delivery: Delivery): void {
    const { gate, outlet, version } = this.#options;
    if (gate.isClosed || delivery.packetId === 0) return;
    delivery.state = 'released';
    outlet.send(encodeAcknowledgement(PacketType.pubrel, delivery.packetId, version));
  }

  #finish(delivery: Delivery): void {
    const { finished, outbound } = this.#options;
    outbound.finish(delivery);
    delivery.shared?.message?.acknowledge();
    finished(delivery);
  }
}
