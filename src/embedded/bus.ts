/**
 * The Bus in the memory of one process: what a node uses when no NATS is configured, and what most protocol tests run
 * on. Same behaviour as nats/bus.ts (test/contract), without other nodes.
 */
import type { Bus, BusDeliver, BusEvents, BusSubscription, Route, Unsubscribe } from '../broker/ports.ts';
import type { Counters } from '../counters.ts';
import { type Extras, makeTopic } from '../message.ts';
import { FilterTree } from './filter-tree.ts';

/** Equal to the caps of nats/subject.ts in spirit: long topics are refused here as there. */
const MAX_TOPIC_BYTES = 3_000;
const MAX_LEVELS = 256;
/** nats-server's default max_payload. */
const MAX_PAYLOAD_BYTES = 1024 * 1024;

/** Members of one group on one filter, in the tree as one entry. */
class Group {
  readonly members: BusDeliver[] = [];
}

export class EmbeddedBus implements Bus {
  readonly #counters: Counters;
  readonly #maximumBytes: number;
  readonly #tree = new FilterTree<BusDeliver | Group>();
  readonly #groups = new Map<string, Group>();
  #isClosed = false;

  /** `maximumBytes`: largest payload with its properties. Events never fire: nothing is sent anywhere. */
  constructor(counters: Counters, _events: BusEvents, maximumBytes: number = MAX_PAYLOAD_BYTES) {
    this.#counters = counters;
    this.#maximumBytes = maximumBytes;
  }

  get isConnected(): boolean {
    return !this.#isClosed;
  }

  route(topic: string): Route | undefined {
    return this.carries(topic) ? makeTopic(topic) : undefined;
  }

  carries(filter: string): boolean {
    return Buffer.byteLength(filter) <= MAX_TOPIC_BYTES && filter.split('/').length <= MAX_LEVELS;
  }

  maximumPacketSize(): number {
    return this.#maximumBytes;
  }

  publish(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean {
    if (payload.length + (extras?.properties.length ?? 0) > this.#maximumBytes) {
      this.#counters.dropped.tooLargeForBus++;
      return true;
    }
    this.#counters.busPublished++;
    this.#tree.match(route.name, (target) => {
      this.#counters.busReceived++;
      const deliver = target instanceof Group ? pickMember(target) : target;
      deliver?.(route, payload, extras);
    });
    return true;
  }

  subscribe(filter: string, deliver: BusDeliver): BusSubscription {
    // A closure of its own, so that the same function can be subscribed twice.
    const entry: BusDeliver = (topic, payload, extras) => deliver(topic, payload, extras);
    this.#tree.add(filter, entry);
    return { askAgain: nothing, end: () => this.#tree.remove(filter, entry) };
  }

  subscribeGroup(name: string, filter: string, deliver: BusDeliver): Unsubscribe {
    const key = `${name}/${filter}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new Group();
      this.#groups.set(key, group);
      this.#tree.add(filter, group);
    }
    const { members } = group;
    const entry: BusDeliver = (topic, payload, extras) => deliver(topic, payload, extras);
    members.push(entry);
    return () => {
      const index = members.indexOf(entry);
      if (index < 0) return;
      members.splice(index, 1);
      if (members.length === 0) this.#dropGroup(key, filter);
    };
  }

  async confirm(): Promise<void> {}

  refusal(): undefined {
    return undefined;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #dropGroup(key: string, filter: string): void {
    const group = this.#groups.get(key);
    if (group === undefined) return;
    this.#groups.delete(key);
    this.#tree.remove(filter, group);
  }
}

/** Uniform, as NATS chooses. */
function pickMember(group: Group): BusDeliver | undefined {
  return group.members[Math.floor(Math.random() * group.members.length)];
}

function nothing(): void {}
