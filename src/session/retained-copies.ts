/**
 * The retained messages that new subscriptions of one session get: who reads them, and what becomes of each. Until a subscription has them
 * all they are owed to it, on whatever node the client goes on.
 */
import type { LogRecord, RetainedMessage, RetainedStore } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import { NotedTopics } from '../noted-topics.ts';
import type { Gate } from './gate.ts';
import type { Delivery, Outbound, RetainedCopy } from './outbound.ts';
import type { Outlet } from './outlet.ts';
import type { SubscriptionRecord } from './record.ts';
import { RetainedReader, type RetainedSink } from './retained-reader.ts';
import type { Sending } from './sending.ts';
import type { SessionSubscription } from './subscription.ts';

/** When subscriptions that have read all look again: a put takes milliseconds, and as long as an election when there is one. */
const LATE_TICKS = [2, 20];

interface Reading {
  readonly reader: RetainedReader;
  readonly noted: NotedTopics;
  /** Since it has read all. */
  ticks: number;
}

const nobody: RetainedCopy = { acknowledged: () => {} };

/** Of a subscription that is owed none. */
export const nothingRetained = { retainedDue: undefined, retainedUntil: undefined, retainedDone: [] };

export interface RetainedCopiesOptions {
  readonly store: RetainedStore;
  readonly outlet: Outlet;
  readonly outbound: Outbound;
  readonly sending: Sending;
  readonly counters: Counters;
  readonly gate: Gate;
  /** A subscription has them all. */
  readonly done: (subscription: SessionSubscription) => void;
}

export interface RetainedStart {
  /** End of the log when the subscription was in effect: what is behind it comes as an ordinary message. */
  readonly until: number;
  /** `Clock.now` when it was. */
  readonly since: number;
  /** Noted since then. */
  readonly noted?: NotedTopics;
}

export class RetainedCopies implements RetainedSink {
  readonly #options: RetainedCopiesOptions;
  /** Positions in the log of copies that an earlier connection has sent and this one has seen acknowledged. */
  readonly #doneBefore = new Set<number>();
  /** In flight since an earlier connection, and no longer in the log: sent again, with their packet ids, when a reader meets them. */
  readonly #lost = new Map<number, Delivery>();
  readonly #readers = new Map<SessionSubscription, Reading>();
  /** They have read all, and look again for what was on its way to its place. */
  readonly #late = new Map<SessionSubscription, Reading>();

  constructor(options: RetainedCopiesOptions) {
    this.#options = options;
  }

  /** What an earlier connection has sent: the reader of now must not send it again. */
  readonly before: RetainedCopy = {
    // Without a reader it is not asked for again; 0 is no message's position.
    acknowledged: (sequence) => {
      if (sequence > 0 && this.#readers.size > 0) this.#doneBefore.add(sequence);
    },
  };

  get isReading(): boolean {
    return this.#readers.size > 0 || this.#late.size > 0;
  }

  /** They are owed to the client from now on; a resume knows of it too. */
  owe(subscription: SessionSubscription): void {
    this.stop(subscription);
    subscription.isNew ||= !subscription.hasBegun;
    subscription.retainedDue = 0;
    subscription.retainedUntil = undefined;
    subscription.retainedDone = [];
  }

  /** Begins, or begins anew for a subscription that asks again. */
  read(subscription: SessionSubscription, start: RetainedStart): void {
    // One that is new begins there, and gets what is behind it from the log.
    this.#read(subscription, subscription.isNew ? { ...start, until: subscription.start } : start);
  }

  /** Goes on where an earlier connection has come to. `now`: by the node's clock. */
  resume(subscriptions: Iterable<SessionSubscription>, now: number): void {
    for (const subscription of subscriptions) {
      const { retainedDue, retainedUntil: until = subscription.start } = subscription;
      if (retainedDue !== undefined) this.#read(subscription, { until, since: now });
    }
  }

  #read(subscription: SessionSubscription, { noted = new NotedTopics(), since, until }: RetainedStart): void {
    this.stop(subscription);
    subscription.retainedUntil = until;
    const { retainedDone: done, retainedDue: from = 0 } = subscription;
    const reader = new RetainedReader({
      store: this.#options.store,
      sink: this,
      subscription,
      from,
      done,
      until,
      since,
      noted,
    });
    this.#readers.set(subscription, { reader, noted, ticks: 0 });
    reader.pump();
  }

  stop(subscription: SessionSubscription): void {
    for (const readings of [this.#readers, this.#late]) {
      readings.get(subscription)?.reader.close();
      readings.delete(subscription);
    }
  }

  close(): void {
    for (const subscription of [...this.#readers.keys(), ...this.#late.keys()]) this.stop(subscription);
  }

  pump(): void {
    for (const { reader } of this.#readers.values()) reader.pump();
    for (const { reader } of this.#late.values()) reader.pump();
  }

  /** About once a second. */
  tick(): void {
    for (const [subscription, reading] of this.#late) {
      reading.ticks++;
      if (LATE_TICKS.includes(reading.ticks)) reading.reader.readAgain();
      else if (reading.ticks > Math.max(...LATE_TICKS) + 1) this.stop(subscription);
    }
  }

  /** The client gets this message live: older ones of its topic must not follow. */
  live({ extras, topic }: LogRecord): void {
    if (extras?.retain === true) {
      for (const { noted } of this.#readers.values()) noted.note(topic.name);
      for (const { noted } of this.#late.values()) noted.note(topic.name);
    }
  }

  offerRetained(message: RetainedMessage, reader: RetainedReader): boolean {
    const { counters, gate, outbound, outlet, sending } = this.#options;
    const { subscription } = reader;
    const { extras, qos, sequence } = message;
    if (reader.isElsewhere(message) || this.#doneBefore.has(sequence)) return true;
    if (subscription.options.noLocal && extras.origin !== '' && extras.origin === outlet.origin) return true; // [MQTT5 3.8.3-3]
    const waited = sending.waited(message);
    if (sending.isExpired(message, waited)) return true;
    const grant = subscription.grantRetained(qos);
    if (grant.qos === 0 ? !outlet.hasRoom : !gate.mayDeliver) return false;
    const lost = this.#lost.get(sequence);
    if (lost !== undefined) return this.#sendLost(lost, message, reader);
    if (outbound.hasRetained(sequence)) return true;
    counters.retainedDelivered++;
    if (grant.qos === 0) {
      sending.atMostOnce(message, grant, waited);
      return true;
    }
    reader.delivered();
    sending.acknowledged(outbound.addRetained(sequence, grant.qos, reader), message, grant, waited);
    return true;
  }

  /** The log has it no more; until a reader meets it, the client may hold its packet id. */
  lost(delivery: Delivery): void {
    if (this.#readers.size > 0 && delivery.sequence > 0) this.#lost.set(delivery.sequence, delivery);
    else this.#giveUp(delivery);
  }

  #sendLost(delivery: Delivery, message: RetainedMessage, reader: RetainedReader): boolean {
    this.#lost.delete(delivery.sequence);
    delivery.retained = reader;
    reader.delivered();
    this.#options.sending.again(delivery, message, reader.subscription.grantRetained(message.qos));
    return true;
  }

  /** Nobody has the message any more. */
  #giveUp(delivery: Delivery): void {
    this.#options.counters.dropped.outOfRetention++;
    delivery.retained = nobody;
    this.#options.outbound.finish(delivery);
  }

  retainedRead({ subscription }: RetainedReader): void {
    const reading = this.#readers.get(subscription);
    this.#readers.delete(subscription);
    // Without the log the copy that follows on the put comes to everybody.
    if (reading !== undefined && subscription.readers.length > 0) this.#late.set(subscription, reading);
    else reading?.reader.close();
    subscription.retainedDue = undefined;
    subscription.retainedUntil = undefined;
    subscription.retainedDone = [];
    subscription.isNew = false;
    if (this.#readers.size === 0) {
      this.#doneBefore.clear();
      for (const delivery of this.#lost.values()) this.#giveUp(delivery);
      this.#lost.clear();
    }
    this.#options.done(subscription);
  }

  /** Where it has come to; for the record. */
  progressOf(
    subscription: SessionSubscription,
  ): Pick<SubscriptionRecord, 'retainedDue' | 'retainedUntil' | 'retainedDone'> {
    const reader = this.#readers.get(subscription)?.reader;
    const { retainedDone, retainedDue, retainedUntil = subscription.start } = subscription;
    if (retainedDue === undefined) return nothingRetained;
    return {
      retainedDue: reader?.position ?? retainedDue,
      retainedUntil,
      retainedDone: [...(reader?.done ?? retainedDone), ...this.#doneBefore],
    };
  }
}
