/**
 * The outside world as the broker sees it. nats/ implements these interfaces on a NATS cluster, embedded/ in the
 * memory of one process; both pass test/contract. Types only.
 */
import type { Extras, Topic } from '../message.ts';

/** A topic made ready for publishing. A connection keeps the route of its last topic and skips all checks with it. */
export interface Route extends Topic {}

/**
 * Called for each message of a bus subscription, synchronously and in order per publisher and topic. `payload` and
 * `extras` are views that are only valid during the call.
 */
export type BusDeliver = (topic: Topic, payload: Uint8Array, extras: Extras | undefined) => void;

/** Ends the bus subscription it came from; a second call does nothing. */
export type Unsubscribe = () => void;

/** QoS 0 transport between all nodes: at most once, nothing stored. */
export interface Bus {
  /** The route of a valid topic name, or undefined when its encoded form is longer than the bus carries. */
  route(topic: string): Route | undefined;
  /** Whether the encoded filter is short enough for the bus. */
  carries(filter: string): boolean;
  /** Bytes of the largest MQTT packet that the bus carries now, unless most of it are properties. */
  maximumPacketSize(): number;
  /**
   * Publishes. The payload is copied or sent before the call returns to the event loop. A message is dropped and counted
   * while the bus is disconnected. False asks the caller to stop reading its socket until {@link BusEvents.writable}.
   */
  publish(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean;
  /** Every message that matches `filter`, `a/#` including `a`, never first levels that start with `$` for a wildcard. */
  subscribe(filter: string, deliver: BusDeliver): Unsubscribe;
  /** One member of the group `name` on `filter`: over all nodes each message reaches exactly one member. */
  subscribeGroup(name: string, filter: string, deliver: BusDeliver): Unsubscribe;
  /** Resolves when all subscriptions made so far are in effect; rejects when the bus is closed. One round trip for many callers. */
  confirm(): Promise<void>;
  readonly isConnected: boolean;
  close(): Promise<void>;
}

/** What a bus tells the node; handed in when it is made. */
export interface BusEvents {
  /** Publishing may go on after `publish` returned false. */
  writable(): void;
  /** Connection lost: messages are dropped from now on. */
  disconnected(): void;
  /** Connected again, subscriptions restored. */
  connected(): void;
}

/** When and where a client connected: both sides of a takeover compare the same value, and the later one keeps the client. */
export interface ClaimStamp {
  /** Milliseconds since the epoch, of the claiming node's clock. */
  readonly connectedAt: number;
  /** Random per process start: tells two nodes apart, and two lives of one node. */
  readonly incarnation: string;
  /** Counts the claims of one incarnation. */
  readonly serial: number;
}

/** One client's place in the cluster, held from CONNECT to close. */
export interface Claim {
  release(): void;
}

/** Exactly one live connection per client id over all nodes. */
export interface Cluster {
  /**
   * Takes the client id over from whoever holds it elsewhere and resolves once the other connection is closed, or nobody
   * has it. `yielded` is called when a later claim wins; it closes the connection and the claim is then released.
   */
  claim(clientId: string, yielded: () => void): Promise<Claim>;
  close(): Promise<void>;
}
