/**
 * The node's table of filters: one bus subscription per distinct filter, however many clients share it. Group members
 * have a bus subscription each (groups.ts).
 */

import type { Delivery } from './deliver.ts';
import { subscribeMember } from './groups.ts';
import { Interest, type Subscription } from './interest.ts';
import type { Bus, BusSubscription, Unsubscribe } from './ports.ts';

interface Entry {
  readonly interest: Interest;
  readonly onBus: BusSubscription;
  /** Clients that are about to subscribe. */
  holds: number;
}

export class Subscriptions {
  readonly #bus: Bus;
  readonly #delivery: Delivery;
  readonly #entries = new Map<string, Entry>();
  readonly #members = new Map<Subscription, Unsubscribe>();
  readonly #groupsReadLog: boolean;
  #count = 0;

  /** `groupsReadLog`: members of groups get stored messages from the log, not from the bus. */
  constructor(bus: Bus, delivery: Delivery, groupsReadLog = false) {
    this.#bus = bus;
    this.#delivery = delivery;
    this.#groupsReadLog = groupsReadLog;
  }

  /** Subscriptions of all local clients. */
  get count(): number {
    return this.#count;
  }

  /** Distinct plain filters, which is the number of interests this node holds on the bus. */
  get interestCount(): number {
    return this.#entries.size;
  }

  get groupMemberCount(): number {
    return this.#members.size;
  }

  add(subscription: Subscription): void {
    this.#count++;
    if (subscription.group !== undefined) {
      this.#members.set(subscription, subscribeMember(this.#bus, this.#delivery, subscription, this.#groupsReadLog));
      return;
    }
    const { interest } = this.#entryOf(subscription.filter);
    this.#delivery.settle(interest);
    interest.add(subscription);
  }

  remove(subscription: Subscription): void {
    this.#count--;
    const leaveGroup = this.#members.get(subscription);
    if (leaveGroup !== undefined) {
      this.#members.delete(subscription);
      leaveGroup();
      return;
    }
    const entry = this.#entries.get(subscription.filter);
    if (entry === undefined) return;
    this.#delivery.settle(entry.interest);
    entry.interest.remove(subscription);
    this.#dropUnused(entry);
  }

  /**
   * Subscribes the node to plain filters for a client that is to have them in a moment, and gets nothing yet: what is published once the bus
   * has confirmed them does not pass it by. Returns the end of that.
   */
  hold(filters: readonly string[]): () => void {
    const entries: Entry[] = [];
    const release = (): void => {
      for (const entry of entries.splice(0)) {
        entry.holds--;
        this.#dropUnused(entry);
      }
    };
    try {
      for (const filter of filters) {
        const entry = this.#entryOf(filter);
        entry.holds++;
        entries.push(entry);
      }
    } catch (error) {
      release();
      throw error;
    }
    return release;
  }

  /** Puts `next` in the place of `previous` (same filter and group, same client) without a gap. [MQTT5 3.8.4-3] */
  replace(previous: Subscription, next: Subscription): void {
    this.add(next);
    this.remove(previous);
  }

  /** Sorts a subscription in again after its overlaps have changed. */
  rearrange(subscription: Subscription): void {
    const entry = this.#entries.get(subscription.filter);
    if (entry === undefined || subscription.place === undefined) return;
    this.#delivery.settle(entry.interest);
    entry.interest.remove(subscription);
    entry.interest.add(subscription);
  }

  #entryOf(filter: string): Entry {
    const known = this.#entries.get(filter);
    if (known !== undefined) {
      // Somebody has it although it was refused; by now it may be granted, to all. Whoever holds it has just asked.
      if (known.holds === 0 && this.#bus.refusal(filter) !== undefined) known.onBus.askAgain();
      return known;
    }
    const interest = new Interest(filter);
    const entry = { interest, onBus: this.#open(interest), holds: 0 };
    this.#entries.set(filter, entry);
    return entry;
  }

  #dropUnused({ holds, interest, onBus }: Entry): void {
    if (holds > 0 || !interest.isEmpty || !this.#entries.delete(interest.filter)) return;
    onBus.end();
  }

  #open(interest: Interest): BusSubscription {
    const delivery = this.#delivery;
    return this.#bus.subscribe(interest.filter, (topic, payload, extras) => {
      delivery.deliver(interest, topic, payload, extras);
    });
  }
}
