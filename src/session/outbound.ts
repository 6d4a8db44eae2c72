/**
 * Messages of QoS 1 and 2 on their way to one client: packet ids, the window, and which messages of the log are dealt with although
 * the positions of the readers do not say so yet. Data and transitions; log-deliveries.ts, memberships.ts,
 * retained-copies.ts and resends.ts decide what is sent when.
 */
import type { Shared } from './memberships.ts';
import type { Reader } from './reader.ts';

/** pending: waits for its id to be durable; sent: PUBLISH is out; releasing: PUBREC has come, not durable yet; released: PUBREL is out. */
export type DeliveryState = 'pending' | 'sent' | 'releasing' | 'released' | 'done';

/** Whoever has sent a retained copy. */
export interface RetainedCopy {
  /** The copy of the message at this position of the log is with the client. */
  acknowledged(sequence: number): void;
}

export interface Delivery {
  readonly sequence: number;
  /** 0 = none any more, or never had one. */
  packetId: number;
  readonly qos: 0 | 1 | 2;
  state: DeliveryState;
  /** Counts deliveries: how far others have gone past this one. */
  readonly serial: number;
  /** Readers that still have to pass the message. */
  readonly readers: readonly Reader[];
  /** A copy for a new subscription that is not a message of the session's own way through the log. */
  retained: RetainedCopy | undefined;
  /** Of a message that came through a group: no reader has to do with it. */
  readonly shared: Shared | undefined;
}

const LARGEST_PACKET_ID = 65_535;
/** A client gets nothing more than this many messages past its oldest unacknowledged one. */
export const MAXIMUM_AHEAD = 1_000;
/** Messages above the readers' positions that a session remembers. */
const MAXIMUM_REMEMBERED = 32_000;
/** So many that the readers' feeds should look at the log, which lets most of them go. */
const CROWD = 4_096;

export class Outbound {
  readonly capacity: number;
  readonly #byId = new Map<number, Delivery>();
  readonly #bySequence = new Map<number, Delivery>();
  /** Retained copies without an acknowledgement, by their position in the log; 0 = those that have none. */
  readonly #retained = new Set<Delivery>();
  #lastId = 0;
  #serial = 0;

  /** `capacity`: Receive Maximum of the client, or our own limit. [MQTT5 3.3.4-9] */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Packet ids in use. */
  get inFlight(): number {
    return this.#byId.size;
  }

  /** How many more messages may be sent now. */
  get room(): number {
    if (this.isFull) return 0;
    const room = this.capacity - this.#byId.size;
    if (room <= 0 || this.#byId.size === 0) return room;
    return Math.min(room, MAXIMUM_AHEAD - this.#ahead());
  }

  /** No more may be remembered. */
  get isFull(): boolean {
    return this.#bySequence.size >= MAXIMUM_REMEMBERED;
  }

  has(sequence: number): boolean {
    return this.#bySequence.has(sequence);
  }

  get(packetId: number): Delivery | undefined {
    return this.#byId.get(packetId);
  }

  /** A new delivery with the next free packet id. [MQTT5 2.2.1-4] [MQTT311 2.3.1-4] */
  add(sequence: number, qos: 1 | 2, readers: readonly Reader[]): Delivery {
    return this.restore(this.#freeId(), sequence, qos, readers);
  }

  /** A delivery of an earlier connection keeps its packet id. [MQTT5 4.4.0-1] [MQTT311 4.4.0-1] */
  restore(packetId: number, sequence: number, qos: 1 | 2, readers: readonly Reader[]): Delivery {
    const serial = ++this.#serial;
    const delivery: Delivery = {
      sequence,
      packetId,
      qos,
      state: 'sent',
      serial,
      readers,
      retained: undefined,
      shared: undefined,
    };
    this.#byId.set(packetId, delivery);
    this.#bySequence.set(sequence, delivery);
    return delivery;
  }

  /** A retained copy: nobody's position depends on it. `packetId`: of an earlier connection. */
  addRetained(sequence: number, qos: 1 | 2, retained: RetainedCopy, packetId = this.#freeId()): Delivery {
    const delivery = this.#make(packetId, sequence, qos, { retained });
    this.#retained.add(delivery);
    return delivery;
  }

  /** Whether a retained copy of this message of the log is under way. */
  hasRetained(sequence: number): boolean {
    if (sequence > 0) for (const delivery of this.#retained) if (delivery.sequence === sequence) return true;
    return false;
  }

  /** A message of a group, which may be on its way through an ordinary subscription too. */
  addShared(sequence: number, qos: 1 | 2, shared: Shared, packetId = this.#freeId()): Delivery {
    return this.#make(packetId, sequence, qos, { shared });
  }

  #make(
    packetId: number,
    sequence: number,
    qos: 1 | 2,
    { retained, shared }: { retained?: RetainedCopy; shared?: Shared },
  ): Delivery {
    const serial = ++this.#serial;
    const delivery: Delivery = { sequence, packetId, qos, state: 'sent', serial, readers: [], retained, shared };
    this.#byId.set(packetId, delivery);
    return delivery;
  }

  /** Remembers a message that needs no packet id (any more) until all readers have passed it. */
  remember(sequence: number, readers: readonly Reader[]): void {
    const nobody = { retained: undefined, shared: undefined };
    this.#bySequence.set(sequence, { sequence, packetId: 0, qos: 0, state: 'done', serial: 0, readers, ...nobody });
  }

  /** The id is free again. [MQTT311 2.3.1-3] */
  finish(delivery: Delivery): void {
    this.#byId.delete(delivery.packetId);
    delivery.packetId = 0;
    delivery.state = 'done';
    if (delivery.retained !== undefined) {
      this.#retained.delete(delivery);
      delivery.retained.acknowledged(delivery.sequence);
      return;
    }
    if (delivery.shared === undefined && isPassed(delivery)) this.#bySequence.delete(delivery.sequence);
  }

  /** Forgets what all readers have passed. */
  prune(): void {
    for (const delivery of this.#bySequence.values()) {
      if (delivery.state === 'done' && isPassed(delivery)) this.#bySequence.delete(delivery.sequence);
    }
  }

  /** True now and then, while more is remembered than a record should hold for long: the feeds should look at the log. */
  get isCrowded(): boolean {
    return this.#bySequence.size >= CROWD && this.#bySequence.size % 512 === 0;
  }

  deliveries(): Iterable<Delivery> {
    return this.#byId.values();
  }

  doneSequences(): number[] {
    return [...this.#bySequence.values()].filter(({ state }) => state === 'done').map(({ sequence }) => sequence);
  }

  #ahead(): number {
    for (const oldest of this.#byId.values()) return this.#serial - oldest.serial;
    return 0;
  }

  #freeId(): number {
    do this.#lastId = (this.#lastId % LARGEST_PACKET_ID) + 1;
    while (this.#byId.has(this.#lastId));
    return this.#lastId;
  }
}

function isPassed({ readers, sequence }: Delivery): boolean {
  for (const reader of readers) if (!reader.isClosed && reader.position < sequence) return false;
  return true;
}
