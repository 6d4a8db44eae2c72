/**
 * The way out of one connection. Deliveries of a turn are joined into one write; what the peer does not take waits here,
 * bounded in bytes: above the limit QoS 0 messages for this client are dropped and counted, and nobody else notices.
 */
import type { Subscriber } from '../broker/interest.ts';
import type { Counters } from '../counters.ts';
import { explain } from '../mqtt/explain.ts';
import type { OutboundAliases } from '../mqtt/outbound-aliases.ts';
import { MqttError, Reason } from '../mqtt/reason.ts';
import { joinOwn } from '../own-memory.ts';
import type { Outlet } from '../session/outlet.ts';
import type { Transport } from '../transport/listener.ts';
import type { Flushable, WriteBatch } from './write-batch.ts';

/** Memory that a waiting buffer costs beside its bytes. */
const BUFFER_OVERHEAD_BYTES = 128;
/** Answers to the client (PINGRESP, SUBACK) may wait beside the messages up to this many bytes; then the connection is cut. */
const ANSWER_ALLOWANCE_BYTES = 256 * 1024;
/** Above this the parts of a write are handed to the kernel as they are, below they are copied together: cheaper than writev. */
const JOIN_BYTES = 64 * 1024;

export class Sender implements Subscriber, Outlet, Flushable {
  hasProperties = false;
  maximumPacketSize = Number.POSITIVE_INFINITY;
  origin = '';
  readsLog = false;
  /** Acknowledgements may say why: MQTT 5, and Request Problem Information is not 0. [MQTT5 3.1.2-29] */
  explains = false;
  /** Of a client that takes them. */
  aliases: OutboundAliases | undefined;
  /** Called when there is room again after {@link hasRoom} was false. */
  roomMade: (() => void) | undefined;
  readonly #transport: Transport;
  readonly #counters: Counters;
  readonly #writes: WriteBatch;
  readonly #limit: number;
  /** Not yet given to the transport. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  /** How many of the parts are copies that nobody else holds. */
  #privateParts = 0;
  #isQueued = false;
  #isClosed = false;
  #wasFull = false;

  constructor(transport: Transport, counters: Counters, writes: WriteBatch, limit: number) {
    this.#transport = transport;
    this.#counters = counters;
    this.#writes = writes;
    this.#limit = limit;
  }

  /** Bytes that wait for the peer, here and in the transport. */
  get waitingBytes(): number {
    return this.#partBytes + this.#transport.bufferedBytes;
  }

  get hasRoom(): boolean {
    const hasRoom = this.waitingBytes < this.#limit;
    if (!hasRoom) this.#wasFull = true;
    return hasRoom;
  }

  deliver(packets: Buffer, count: number): void {
    if (this.#isClosed) return;
    const waiting = this.waitingBytes;
    // A single message that is larger than the limit still goes to a client that keeps up.
    if (waiting > 0 && waiting + packets.length > this.#limit) {
      this.#counters.dropped.slowSubscriber += count;
      return;
    }
    this.#counters.messagesDelivered += count;
    this.#enqueue(this.aliases === undefined ? packets : this.aliases.rewrite(packets, count));
  }

  /** A PUBLISH of QoS 1 or 2: whoever sends it has looked at {@link hasRoom}. */
  deliverAcknowledged(packet: Buffer): void {
    if (!this.#isClosed) this.#enqueue(this.aliases === undefined ? packet : this.aliases.rewrite(packet, 1));
  }

  /**
   * Answers of the protocol: never dropped. False when even these pile up and the connection should be cut. `text` is the Reason String
   * of an acknowledgement that refuses.
   */
  send(packet: Buffer, text?: string): boolean {
    if (this.#isClosed) return true;
    const isExplained = text !== undefined && this.explains;
    this.#enqueue(isExplained ? explain(packet, text, this.maximumPacketSize) : packet);
    return this.waitingBytes <= this.#limit + ANSWER_ALLOWANCE_BYTES;
  }

  /**
   * To be called before anything is done whose answer may be large.
   * @throws MqttError 0x95 when the client does not take a packet of so many bytes [MQTT5 3.1.2-24]
   */
  checkFits(bytes: number, name: string): void {
    if (bytes <= this.maximumPacketSize) return;
    const text = `${name} of ${bytes} bytes is above the Maximum Packet Size of the client`;
    throw new MqttError(Reason.packetTooLarge, text);
  }

  /** One write for everything of this turn; while the peer is slow, everything stays here, in memory of its own. */
  flush(): void {
    this.#isQueued = false;
    if (this.#isClosed || this.#parts.length === 0) return;
    if (this.#transport.isBlocked) this.#compact();
    else this.#writeAll();
    this.#tellRoom();
  }

  /** The transport has room again. */
  drained(): void {
    if (!this.#isClosed && this.#parts.length > 0) this.#writeAll();
    this.#tellRoom();
  }

  /** Writes what is left and takes nothing more. */
  close(lastPacket: Buffer | undefined): void {
    if (this.#isClosed) return;
    if (lastPacket !== undefined) {
      this.#parts.push(lastPacket);
      this.#partBytes += lastPacket.length + BUFFER_OVERHEAD_BYTES;
    }
    if (this.#parts.length > 0) this.#writeAll();
    this.#isClosed = true;
  }

  #tellRoom(): void {
    if (!this.#wasFull || this.#isClosed || this.waitingBytes >= this.#limit) return;
    this.#wasFull = false;
    this.roomMade?.();
  }

  #enqueue(packets: Buffer): void {
    this.#parts.push(packets);
    this.#partBytes += packets.length + BUFFER_OVERHEAD_BYTES;
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#writes.add(this);
  }

  #writeAll(): void {
    const parts = this.#parts;
    const bytes = this.#partBytes - parts.length * BUFFER_OVERHEAD_BYTES;
    this.#counters.bytesSent += bytes;
    const first = parts[0];
    // The transport keeps what the kernel does not take: nothing but what is accounted for may stay in memory with it.
    if (this.#transport.bufferedBytes > 0) this.#writeOwn(parts);
    else if (parts.length === 1 && first !== undefined) this.#transport.write(first);
    else if (bytes <= JOIN_BYTES) this.#transport.write(Buffer.concat(parts));
    else for (const part of parts) this.#transport.write(part);
    this.#parts.length = 0;
    this.#partBytes = 0;
    this.#privateParts = 0;
  }

  /** Those that are copies already are not copied again. */
  #writeOwn(parts: readonly Buffer[]): void {
    for (const part of parts.slice(0, this.#privateParts)) this.#transport.write(part);
    if (parts.length > this.#privateParts) this.#transport.write(joinOwn(parts.slice(this.#privateParts)));
  }

  /** Copies what came in this turn out of the shared slabs, so that a stalled peer pins no more than it is accounted for. */
  #compact(): void {
    const shared = this.#parts.length - this.#privateParts;
    if (shared === 0) return;
    const copy = joinOwn(this.#parts.splice(this.#privateParts));
    this.#parts.push(copy);
    this.#partBytes -= (shared - 1) * BUFFER_OVERHEAD_BYTES;
    this.#privateParts++;
  }
}
