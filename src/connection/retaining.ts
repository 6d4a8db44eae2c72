/**
 * Messages of QoS 0 with RETAIN: through the log like the others, which decides which of two is the later one, but nobody is told. A client
 * that publishes faster than they are stored is not read meanwhile; a SUBSCRIBE of the same client waits for those before it, and so do
 * its ordinary messages of QoS 0 on the same topic: order per topic is kept.
 */
import type { LogOutcome, LogPublish, Route } from '../broker/ports.ts';
import type { Extras } from '../message.ts';
import type { Connection } from './connection.ts';
import { PauseReason } from './pause-reason.ts';

/** Messages, and bytes, under way for one client; beyond, it is not read. */
const MAXIMUM = 100;
const MAXIMUM_BYTES = 1024 * 1024;

/** A message; payload and properties are copies. */
export interface RetainedPublish {
  readonly route: Route;
  readonly payload: Buffer;
  readonly extras: Extras;
  readonly expirySeconds: number | undefined;
}

/** A message under way, and the ordinary ones that came behind it on its topic. */
interface UnderWay {
  readonly message: LogPublish;
  readonly followers: FollowingPublish[];
}

/** An ordinary message of QoS 0; payload and properties are copies. */
export interface FollowingPublish {
  readonly route: Route;
  readonly payload: Buffer;
  readonly extras: Extras | undefined;
}

export class Retaining {
  readonly #connection: Connection;
  /** The latest message of each topic that is under way. */
  readonly #latest = new Map<string, UnderWay>();
  #count = 0;
  #bytes = 0;
  #isPaused = false;
  #waiting: Array<() => void> = [];

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  take(publish: RetainedPublish): void {
    const { counters, sessions } = this.#connection.node;
    counters.messagesReceived++;
    const message: LogPublish = {
      ...publish,
      qos: 0,
      messageId: '',
      settled: (outcome, sequence) => this.#settled(underWay, outcome, sequence),
    };
    const underWay: UnderWay = { message, followers: [] };
    this.#latest.set(publish.route.name, underWay);
    this.#took(publish.payload.length);
    sessions?.log.publish(message);
  }

  /** Whether an ordinary message on this topic has to wait; if so, it is taken. */
  follow(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean {
    const before = this.#latest.get(route.name);
    if (before === undefined) return false;
    const properties = Buffer.from(extras?.properties ?? nothing);
    const kept = extras === undefined ? undefined : { ...extras, properties };
    before.followers.push({ route, payload: Buffer.from(payload), extras: kept });
    this.#took(payload.length);
    return true;
  }

  #took(bytes: number): void {
    this.#count++;
    this.#bytes += bytes;
    if (!this.#isPaused && (this.#count >= MAXIMUM || this.#bytes >= MAXIMUM_BYTES)) {
      this.#isPaused = true;
      this.#connection.pauseReading(PauseReason.retaining);
    }
  }

  /** Resolves when everything that was taken so far is in its place, or refused. */
  settled(): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #settled(underWay: UnderWay, outcome: LogOutcome, sequence: number): void {
    const { counters, publisher } = this.#connection.node;
    const { message } = underWay;
    if (outcome === 'stored') {
      counters.logStored++;
      publisher.stored(message, sequence, () => this.#finished(underWay));
      return;
    }
    // At most once, and not retained: those who are subscribed get it all the same.
    counters.logRefused++;
    publisher.publishAnyway(message);
    this.#finished(underWay);
  }

  #finished(underWay: UnderWay): void {
    const { followers, message } = underWay;
    const { name } = message.route;
    if (this.#latest.get(name) === underWay) this.#latest.delete(name);
    for (const { extras, payload, route } of followers) {
      this.#connection.node.publisher.publish(route, payload, extras);
      this.#bytes -= payload.length;
    }
    this.#count -= 1 + followers.length;
    this.#bytes -= message.payload.length;
    if (this.#isPaused && this.#count <= MAXIMUM / 2 && this.#bytes <= MAXIMUM_BYTES / 2) {
      this.#isPaused = false;
      if (!this.#connection.isClosed) this.#connection.resumeReading(PauseReason.retaining);
    }
    if (this.#count === 0) for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

const nothing = Buffer.alloc(0);
