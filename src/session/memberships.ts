/**
 * A session's group subscriptions ($share, $g) on the log: each is a member of its group, asks for as many messages as the client has room
 * for, and gives back what the client will not acknowledge. A message of a group is no position of a reader: who was given it says
 * what becomes of it, and nothing else does.
 */
import type { GroupLog, GroupMember, GroupMessage, GroupTake, LogRecord } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import type { Gate } from './gate.ts';
import type { Delivery, Outbound } from './outbound.ts';
import type { Outlet } from './outlet.ts';
import type { Sending } from './sending.ts';
import type { Grant, SessionSubscription } from './subscription.ts';

export interface MembershipsOptions {
  readonly groups: GroupLog;
  readonly counters: Counters;
  readonly outbound: Outbound;
  readonly outlet: Outlet;
  readonly sending: Sending;
  readonly gate: Gate;
  /** False: others may have what this node was given. */
  readonly mayServe: () => boolean;
  /** State is kept in the store. */
  readonly isDurable: () => boolean;
  /** Calls `done` when the session's state is safe; at once for a session that ends with its connection. */
  readonly save: (done: () => void) => void;
}

/** Messages are asked for when so many places are free, or half of the window. */
const WORTH_ASKING = 64;

/** What an ordinary delivery does not have: the message in its group. */
export class Shared {
  /** Of the subscription, as the client wrote it. */
  readonly text: string;
  /** Undefined: an earlier connection's. */
  readonly message: GroupMessage | undefined;
  /** QoS 2: not known to be acknowledged in the group yet; empty = acknowledged. */
  claim: string;

  constructor(text: string, message: GroupMessage | undefined, claim: string) {
    this.text = text;
    this.message = message;
    this.claim = claim;
  }
}

export class Memberships {
  readonly #options: MembershipsOptions;
  readonly #members = new Map<string, Membership>();
  /** Those with messages that wait for room, or without a request because there was none. */
  readonly #stalled = new Set<Membership>();
  /** Taken out of the record before anything of them was sent. */
  readonly #undone: GroupMessage[] = [];

  constructor(options: MembershipsOptions) {
    this.#options = options;
  }

  /** Resolves when all of them are in effect. */
  async ready(): Promise<void> {
    await Promise.all(Array.from(this.#members.values(), ({ ready }) => ready));
  }

  join(subscription: SessionSubscription): void {
    const take: GroupTake = (message, record) => this.#take(membership, message, record);
    const member = this.#options.groups.join(subscription.group ?? '', subscription.filter, take);
    const membership = new Membership(subscription, member);
    this.#members.set(subscription.text, membership);
    this.#ask(membership);
  }

  /** Deliveries that have begun are finished, the rest goes to other members. [MQTT5 3.10.4-2] [MQTT5 3.10.4-3] */
  leave(text: string): void {
    const membership = this.#members.get(text);
    if (membership === undefined) return;
    this.#members.delete(text);
    this.#stalled.delete(membership);
    membership.member.leave();
    for (const { message } of membership.waiting.splice(0)) this.#giveBack(message);
  }

  /** The client may get more. */
  pump(): void {
    for (const membership of this.#stalled) {
      const { waiting } = membership;
      while (this.#options.gate.room > 0) {
        const next = waiting.shift();
        if (next === undefined) break;
        this.#deliver(membership, next.message, next.record);
      }
      this.#ask(membership);
      if (this.#options.gate.room === 0) return;
    }
  }

  /**
   * The connection is over: what the client has not acknowledged goes to other members at once. QoS 2 stays with the client, from the
   * moment on at which its record says so. MQTT5 section 4.8.2
   */
  close(): void {
    for (const text of [...this.#members.keys()]) this.leave(text);
    for (const delivery of [...this.#options.outbound.deliveries()]) {
      const { qos, shared, state } = delivery;
      if (shared?.message === undefined || (qos === 2 && state !== 'pending')) continue;
      this.#options.outbound.finish(delivery);
      if (qos === 1) this.#giveBack(shared.message);
      else this.#undone.push(shared.message);
    }
  }

  /** The record was written for the last time: what is not in it may be another client's. */
  closed(): void {
    for (const message of this.#undone.splice(0)) this.#giveBack(message);
  }

  /** The session is another owner's: so is everything else, by the time it was given out for. */
  abandon(): void {
    for (const membership of this.#members.values()) {
      membership.member.leave();
      for (const { message } of membership.waiting) message.forget();
    }
    this.#members.clear();
    this.#stalled.clear();
    for (const { shared } of this.#options.outbound.deliveries()) shared?.message?.forget();
  }

  #take(membership: Membership, message: GroupMessage, record: LogRecord): void {
    const { gate, mayServe } = this.#options;
    // Of a paused node that wakes: another member has it by now.
    if (!mayServe() || gate.isClosed) return message.forget();
    if (membership.waiting.length === 0 && gate.room > 0) this.#deliver(membership, message, record);
    else membership.waiting.push({ message, record });
    this.#ask(membership);
  }

  #ask(membership: Membership): void {
    const { gate } = this.#options;
    const isFull = membership.waiting.length > 0 || gate.room === 0;
    const places = isFull ? 0 : gate.roomFor(WORTH_ASKING);
    // What was asked for before stands while there is any room.
    if (isFull || places > 0) membership.member.want(places);
    if (places === 0) this.#stalled.add(membership);
    else this.#stalled.delete(membership);
  }

  #deliver({ subscription }: Membership, message: GroupMessage, record: LogRecord): void {
    const { counters, isDurable, outbound, sending } = this.#options;
    // Never twice on one connection: the client works on it. [MQTT5 4.4.0-1]
    if (message.isRepeated && this.#has(record.sequence, subscription.text)) return message.forget();
    const grant = subscription.grant(record, '');
    const waited = sending.waited(record);
    if (grant === undefined || (record.expirySeconds !== undefined && waited > 0 && waited >= record.expirySeconds)) {
      counters.dropped.expired++; // [MQTT5 3.3.2-5]
      return message.acknowledge();
    }
    if (grant.qos === 0) return this.#deliverOnce(message, record, grant, waited);
    const shared = new Shared(subscription.text, message, '');
    const delivery = outbound.addShared(record.sequence, grant.qos, shared);
    const packet = sending.fitting(record, grant, delivery, waited);
    if (packet === undefined) return this.#tooLarge(message, delivery);
    if (grant.qos === 1) return this.#send(packet);
    if (isDurable()) return this.#claim(delivery, message, packet);
    // A session that ends with its connection: nobody else gets it. [MQTT5 4.8.2-5]
    this.#send(packet);
    message.acknowledge();
  }

  /** At most once: it is the client's when it is sent. */
  #deliverOnce(message: GroupMessage, record: LogRecord, grant: Grant, waited: number): void {
    const { counters, outlet, sending } = this.#options;
    const packet = sending.fitting(record, grant, undefined, waited);
    if (packet === undefined) counters.dropped.tooLargeForSubscriber++;
    else outlet.deliver(packet, 1);
    message.acknowledge();
  }

  /** As if it had been delivered: the specification leaves it to us whether another member gets it. [MQTT5 3.1.2-25] */
  #tooLarge(message: GroupMessage, delivery: Delivery): void {
    this.#options.counters.dropped.tooLargeForSubscriber++;
    this.#options.outbound.finish(delivery);
    message.acknowledge();
  }

  /**
   * QoS 2: first the record says that the message is this client's, then the group does, then it leaves. A node that dies in between leaves
   * the claim in the record: whoever resumes the session acknowledges it before it sends.
   */
  #claim(delivery: Delivery, message: GroupMessage, packet: Buffer): void {
    const { gate, mayServe, save } = this.#options;
    const { shared } = delivery;
    if (shared === undefined) return;
    delivery.state = 'pending';
    shared.claim = message.token;
    save(() => {
      // Past the lease it may be another member's: not claimed, and not in the record that the end of the connection writes.
      if (gate.isClosed || !mayServe() || delivery.state !== 'pending') return;
      delivery.state = 'sent';
      void message.confirm().then(() => {
        shared.claim = '';
        if (!gate.isClosed) this.#send(packet);
      });
    });
  }

  #send(packet: Buffer): void {
    this.#options.gate.isHungry = false;
    this.#options.sending.send(packet);
  }

  #has(sequence: number, text: string): boolean {
    for (const { sequence: other, shared } of this.#options.outbound.deliveries())
      if (other === sequence && shared?.text === text) return true;
    return false;
  }

  #giveBack(message: GroupMessage): void {
    if (this.#options.mayServe()) message.release();
    else message.forget();
  }
}

/** One group subscription. */
class Membership {
  readonly subscription: SessionSubscription;
  readonly member: GroupMember;
  /** Messages that came when there was no room; as many as were asked for at most. */
  readonly waiting: Array<{ readonly message: GroupMessage; readonly record: LogRecord }> = [];

  constructor(subscription: SessionSubscription, member: GroupMember) {
    this.subscription = subscription;
    this.member = member;
  }

  get ready(): Promise<void> {
    return this.member.ready;
  }
}
