/**
 * QoS 2 packets of one client that are not released yet. Each use of a packet id gets a message id of its own, which the log stores
 * once: an id that the client uses again is another message, and the same packet sent again through another node is not.
 */
import type { InboundRecord } from './record.ts';

/** storing: on its way into the log; stored: PUBREC may be repeated; unknown: an earlier node had it, nobody knows how far it came. */
export type InboundState = 'storing' | 'stored' | 'unknown';

export interface InboundPacket extends InboundRecord {
  state: InboundState;
}

export class Inbound {
  readonly #prefix: string;
  readonly #byId = new Map<number, InboundPacket>();
  #count = 0;
  /** Packets that did not come again since an earlier connection. */
  #unknown = 0;

  /** Message ids are unique because `uid` is random per session and `epoch` grows with each owner of it. */
  constructor(uid: string, epoch: number) {
    this.#prefix = `${uid}.${epoch}.`;
  }

  /** Packets that came on this connection and are not released. */
  get underWay(): number {
    return this.#byId.size - this.#unknown;
  }

  get(packetId: number): InboundPacket | undefined {
    return this.#byId.get(packetId);
  }

  /** The first use of a packet id since it was released. `position`: of the log now, or earlier. */
  begin(packetId: number, position: number, at: number): InboundPacket {
    const messageId = this.#prefix + ++this.#count;
    const packet: InboundPacket = { packetId, messageId, position, at, state: 'storing' };
    this.#byId.set(packetId, packet);
    return packet;
  }

  /** The packet id is free: PUBREL has come, or PUBREC refused the message. False when it was free before. */
  release(packetId: number): boolean {
    if (this.#byId.get(packetId)?.state === 'unknown') this.#unknown--;
    return this.#byId.delete(packetId);
  }

  /** A packet of an earlier connection has come again. */
  comesAgain(packet: InboundPacket): void {
    if (packet.state === 'unknown') this.#unknown--;
    packet.state = 'storing';
  }

  records(): InboundRecord[] {
    return [...this.#byId.values()].map(({ at, messageId, packetId, position }) => ({
      at,
      messageId,
      packetId,
      position,
    }));
  }

  restore(records: readonly InboundRecord[]): void {
    for (const record of records) this.#byId.set(record.packetId, { ...record, state: 'unknown' });
    this.#unknown = this.#byId.size;
  }
}
