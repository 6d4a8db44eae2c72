/**
 * Messages of the log on their way to one client: what the session's readers come to is passed over, held back or sent. A message is sent
 * once, however many subscriptions match it; it is remembered until the readers of all of them have passed it.
 */
import type { LogRecord } from '../broker/ports.ts';
import type { Feeds } from './feeds.ts';
import type { Gate } from './gate.ts';
import type { Outbound } from './outbound.ts';
import type { Outlet } from './outlet.ts';
import type { Reader, RecordSink } from './reader.ts';
import type { RetainedCopies } from './retained-copies.ts';
import type { Sending } from './sending.ts';
import type { Grant } from './subscription.ts';

export interface LogDeliveriesOptions {
  readonly feeds: Feeds;
  readonly gate: Gate;
  readonly outbound: Outbound;
  readonly outlet: Outlet;
  readonly retained: RetainedCopies;
  readonly sending: Sending;
  /** The reader keeps the message, until it is pumped. */
  readonly waits: (reader: Reader) => void;
  /** Positions are no longer what the record says. */
  readonly moved: () => void;
  /** Some readers are further than they were: more may be sent. */
  readonly pump: () => void;
}

export class LogDeliveries implements RecordSink {
  readonly #options: LogDeliveriesOptions;

  constructor(options: LogDeliveriesOptions) {
    this.#options = options;
  }

  get room(): number {
    return this.#options.gate.roomFor(Number.POSITIVE_INFINITY);
  }

  offer(record: LogRecord, reader: Reader): boolean {
    const { gate, moved, outbound, outlet, retained, sending, waits } = this.#options;
    if (outbound.has(record.sequence)) return true;
    const { subscription } = reader;
    const grant = subscription.grant(record, outlet.origin);
    // Of QoS 0 a client that has no CONNACK yet gets nothing. [MQTT5 3.2.0-1] [MQTT311 3.2.0-1]
    if (grant === undefined || (grant.qos === 0 && !gate.isStarted)) return true;
    const waited = sending.waited(record);
    if (sending.isExpired(record, waited)) return true;
    if (subscription.isHeld || (grant.qos > 0 && !gate.mayDeliver)) {
      waits(reader);
      return false;
    }
    moved();
    if (retained.isReading) retained.live(record);
    const overlaps = subscription.overlapping.length > 0;
    this.#deliver(record, grant, overlaps ? subscription.readersOf(record) : reader.alone, waited);
    return true;
  }

  proven(): void {
    const { outbound, pump } = this.#options;
    outbound.prune();
    pump();
  }

  #deliver(record: LogRecord, grant: Grant, readers: readonly Reader[], waited: number): void {
    const { feeds, gate, outbound, sending } = this.#options;
    const { sequence } = record;
    if (grant.qos === 0) {
      if (readers.length > 1 && !outbound.isFull) outbound.remember(sequence, readers);
      return sending.atMostOnce(record, grant, waited);
    }
    gate.isHungry = false;
    sending.acknowledged(outbound.add(sequence, grant.qos, readers), record, grant, waited);
    if (outbound.isCrowded) for (const { feed } of readers) feeds.look(feed);
  }
}
