/**
 * The subscriptions of one client: replaces equal filters, keeps track of which ones overlap (so that a message reaches
 * the client once), and enters all of them in the node's table. Cleared when the session ends.
 */
import { filtersOverlap } from '../mqtt/topic.ts';
import type { NotedTopics } from '../noted-topics.ts';
import type { Subscription } from './interest.ts';
import type { Subscriptions } from './subscriptions.ts';

export class ClientSubscriptions {
  readonly #node: Subscriptions;
  readonly #byText = new Map<string, Subscription>();
  /** Plain filters with a wildcard: only these can overlap others. */
  readonly #wildcards = new Set<Subscription>();
  #noLocalCount = 0;
  #nextSerial = 1;

  constructor(node: Subscriptions) {
    this.#node = node;
  }

  get size(): number {
    return this.#byText.size;
  }

  /** Whether messages that this client publishes must carry its origin. */
  get hasNoLocal(): boolean {
    return this.#noLocalCount > 0;
  }

  get(text: string): Subscription | undefined {
    return this.#byText.get(text);
  }

  /** Adds a subscription or replaces the one with the same text. Overlaps and serial are set here. [MQTT5 3.8.4-3] [MQTT311 3.8.4-3] */
  add(wanted: Omit<Subscription, 'serial' | 'overlapping' | 'place' | 'noted'>): Subscription {
    const previous = this.#byText.get(wanted.text);
    const serial = previous?.serial ?? this.#nextSerial++;
    const subscription: Subscription = {
      ...wanted,
      serial,
      overlapping: this.#overlapsOf(wanted, previous),
      place: undefined,
      noted: previous?.noted,
    };
    if (previous === undefined) this.#node.add(subscription);
    else this.#node.replace(previous, subscription);
    if (previous !== undefined) this.#forget(previous);
    this.#remember(subscription);
    for (const other of subscription.overlapping) this.#link(other, subscription);
    return subscription;
  }

  /** Removes the subscription with exactly this text; false when there is none. [MQTT5 3.10.4-1] [MQTT311 3.10.4-1] */
  remove(text: string): boolean {
    const subscription = this.#byText.get(text);
    if (subscription === undefined) return false;
    this.#node.remove(subscription);
    this.#forget(subscription);
    return true;
  }

  /** Retained messages are read for the subscription from now on, or (undefined) no longer. */
  note(text: string, noted: NotedTopics | undefined): void {
    const subscription = this.#byText.get(text);
    if (subscription === undefined || subscription.group !== undefined) return;
    subscription.noted = noted;
    this.#node.rearrange(subscription);
  }

  /** Sorts all plain subscriptions in again: what their subscriber wants of them has changed. */
  rearrange(): void {
    for (const subscription of this.#byText.values())
      if (subscription.group === undefined) this.#node.rearrange(subscription);
  }

  /** All of them. */
  all(): Iterable<Subscription> {
    return this.#byText.values();
  }

  clear(): void {
    for (const subscription of this.#byText.values()) this.#node.remove(subscription);
    this.#byText.clear();
    this.#wildcards.clear();
    this.#noLocalCount = 0;
  }

  #overlapsOf(wanted: Pick<Subscription, 'filter' | 'group'>, previous: Subscription | undefined): Subscription[] {
    if (wanted.group !== undefined) return [];
    const candidates = hasWildcard(wanted.filter) ? this.#byText.values() : this.#wildcards.values();
    const overlaps: Subscription[] = [];
    for (const other of candidates) {
      if (other !== previous && other.group === undefined && filtersOverlap(other.filter, wanted.filter))
        overlaps.push(other);
    }
    return overlaps;
  }

  #remember(subscription: Subscription): void {
    this.#byText.set(subscription.text, subscription);
    if (subscription.group === undefined && hasWildcard(subscription.filter)) this.#wildcards.add(subscription);
    if (subscription.noLocal) this.#noLocalCount++;
  }

  #forget(subscription: Subscription): void {
    this.#byText.delete(subscription.text);
    this.#wildcards.delete(subscription);
    if (subscription.noLocal) this.#noLocalCount--;
    for (const other of subscription.overlapping) {
      const index = other.overlapping.indexOf(subscription);
      if (index < 0) continue;
      other.overlapping.splice(index, 1);
      if (other.overlapping.length === 0) this.#node.rearrange(other);
    }
  }

  #link(other: Subscription, added: Subscription): void {
    other.overlapping.push(added);
    if (other.overlapping.length === 1) this.#node.rearrange(other);
  }
}

function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}
