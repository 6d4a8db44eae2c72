/**
 * What an earlier connection left open: sent again with its packet ids, in its order, before anything new. The messages are read from the
 * log anew; of one that the log has no more, only an owed PUBREL is left. [MQTT5 4.6.0-1] [MQTT311 4.6.0-1]
 */
import type { GroupLog, LogRecord, MessageLog } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import type { Acknowledgements } from './acknowledgements.ts';
import type { Gate } from './gate.ts';
import { Shared } from './memberships.ts';
import type { Delivery, Outbound } from './outbound.ts';
import type { Reader } from './reader.ts';
import type { OutboundRecord } from './record.ts';
import type { RetainedCopies } from './retained-copies.ts';
import type { Sending } from './sending.ts';
import type { Grant } from './subscription.ts';
import type { SubscriptionSet } from './subscription-set.ts';

/** Messages that are read from the log at once. */
const AT_ONCE = 16;

export interface ResendsOptions {
  readonly acknowledgements: Acknowledgements;
  readonly counters: Counters;
  readonly gate: Gate;
  readonly groups: GroupLog | undefined;
  readonly log: MessageLog;
  readonly outbound: Outbound;
  readonly retained: RetainedCopies;
  readonly sending: Sending;
  readonly subscriptions: SubscriptionSet;
  /** All of them are with the client. */
  readonly done: () => void;
}

export class Resends {
  readonly #options: ResendsOptions;
  #waiting: Delivery[] = [];
  #isRunning = false;

  constructor(options: ResendsOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** `readers`: those that have to pass the messages. */
  restore(records: readonly OutboundRecord[], readers: readonly Reader[]): void {
    for (const record of records) {
      const delivery = this.#deliveryOf(record, readers);
      delivery.state = record.state;
      this.#waiting.push(delivery);
    }
  }

  /** Goes on as far as the window of this connection lets it. */
  pump(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#sendAll()
      .catch(() => {
        // The log does not answer: the session's tick tries again.
      })
      .finally(() => {
        this.#isRunning = false;
        if (this.isEmpty) this.#options.done();
      });
  }

  #deliveryOf({ isRetained, packetId, qos, sequence, shared }: OutboundRecord, readers: readonly Reader[]): Delivery {
    const { outbound, retained } = this.#options;
    if (isRetained) return outbound.addRetained(sequence, qos, retained.before, packetId);
    if (shared === undefined) return outbound.restore(packetId, sequence, qos, readers);
    return outbound.addShared(sequence, qos, new Shared(shared.text, undefined, shared.claim), packetId);
  }

  async #sendAll(): Promise<void> {
    const { gate, outbound } = this.#options;
    while (this.#waiting.length > 0 && !gate.isClosed) {
      const room = outbound.capacity - (outbound.inFlight - this.#waiting.length);
      // A window smaller than before: what is left of PUBLISH follows as these are acknowledged, PUBREL waits for nothing. [MQTT5 3.3.4-10]
      const batch = room > 0 ? this.#waiting.slice(0, Math.min(AT_ONCE, room)) : this.#waiting.filter(owesPubrel);
      if (batch.length === 0) return;
      const records = await Promise.all(batch.map((delivery) => this.#read(delivery)));
      if (gate.isClosed) return;
      const sent = new Set(batch);
      this.#waiting = this.#waiting.filter((delivery) => !sent.has(delivery));
      for (const [index, delivery] of batch.entries()) this.#send(delivery, records[index]);
    }
  }

  /** Its message; undefined = the log has it no more, or PUBREL is owed. */
  async #read({ sequence, shared, state }: Delivery): Promise<LogRecord | undefined> {
    if (state === 'released') return undefined;
    if (shared !== undefined) await this.#settleClaim(shared);
    return this.#options.log.readAt(sequence);
  }

  /** An earlier node died before the group knew that the message is this client's. */
  async #settleClaim(shared: Shared): Promise<void> {
    if (shared.claim !== '') await this.#options.groups?.acknowledge(shared.claim);
    shared.claim = '';
  }

  #send(delivery: Delivery, record: LogRecord | undefined): void {
    const { acknowledgements, counters, outbound, retained, sending } = this.#options;
    if (delivery.state === 'done') return;
    if (delivery.state === 'released') return acknowledgements.sendPubrel(delivery);
    if (record !== undefined) return sending.again(delivery, record, this.#grantOf(record, delivery));
    if (delivery.retained !== undefined) return retained.lost(delivery);
    counters.dropped.outOfRetention++;
    outbound.finish(delivery);
  }

  /** What the subscriptions say now; it may have been unsubscribed since. */
  #grantOf(record: LogRecord, { retained, shared }: Delivery): Grant {
    const isCopy = retained !== undefined;
    for (const subscription of this.#options.subscriptions.all()) {
      if (shared === undefined ? subscription.group !== undefined : subscription.text !== shared.text) continue;
      const grant = subscription.matches(record, isCopy) ? subscription.grant(record, '') : undefined;
      if (grant !== undefined) return isCopy ? { ...grant, retainAsPublished: true } : grant;
    }
    return { qos: record.qos, retainAsPublished: isCopy, identifiers: Buffer.alloc(0) };
  }
}

function owesPubrel({ state }: Delivery): boolean {
  return state === 'released';
}
