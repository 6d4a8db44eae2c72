/**
 * What the scenarios ask of every client library. A library that cannot do something does not claim the feature; a value that it does
 * not show to its application is left out of what it received.
 */
import { EventEmitter, once } from 'node:events';

export type Version = '3.1' | '3.1.1' | '5';
export type Transport = 'tcp' | 'ws';

/** What not every library, or its command-line tool, can do. */
export type Feature =
  /** Clean Session 0, or a Session Expiry Interval. */
  | 'session'
  | 'unsubscribe'
  /** Publishes with all properties of an application message, not only some. */
  | 'properties'
  /** Publishes and shows user properties as a list, in order and with repeated names. */
  | 'order'
  /** With MQTT 5 it leaves with Disconnect with Will Message (0x04). */
  | 'leaves with will';

export interface Properties {
  readonly contentType?: string;
  readonly correlationData?: string;
  readonly messageExpiry?: number;
  readonly responseTopic?: string;
  readonly user?: ReadonlyArray<readonly [name: string, value: string]>;
}

export interface Message {
  readonly topic: string;
  readonly payload: string;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly properties?: Properties;
}

export interface ConnectOptions {
  readonly port: number;
  readonly transport: Transport;
  readonly version: Version;
  readonly clientId: string;
  /** Default true: nothing is left when the client goes. */
  readonly clean?: boolean;
  readonly will?: Message;
}

export interface Client {
  readonly inbox: Inbox;
  /** Resolves with the SUBACK. */
  subscribe(filter: string, qos: number): Promise<void>;
  /** Subscribes to what the server does not grant; the code that the library reports. */
  refusal(filter: string): Promise<number>;
  unsubscribe(filter: string): Promise<void>;
  /** Resolves when the library has done what the QoS asks for. */
  publish(message: Message): Promise<void>;
  /** Leaves with DISCONNECT. */
  end(): Promise<void>;
  /** Is gone without DISCONNECT. */
  kill(): Promise<void>;
}

export interface Library {
  readonly name: string;
  /** Why it cannot be tested here. */
  readonly missing: string | undefined;
  readonly versions: readonly Version[];
  readonly transports: readonly Transport[];
  readonly features: readonly Feature[];
  /** Command-line tools connect when they subscribe, and once more for each message that they publish. */
  readonly connects?: 'on subscribe';
  connect(options: ConnectOptions): Promise<Client>;
}

const PATIENCE_MILLISECONDS = 60_000;

/** The messages that a client has got, in order. */
export class Inbox {
  readonly #arrived = new EventEmitter();
  readonly #messages: Message[] = [];

  add(message: Message): void {
    this.#messages.push(message);
    this.#arrived.emit('message');
  }

  get count(): number {
    return this.#messages.length;
  }

  /** Takes the oldest message, waits for it if there is none. */
  async next(): Promise<Message> {
    const signal = AbortSignal.timeout(PATIENCE_MILLISECONDS);
    while (this.#messages[0] === undefined) await once(this.#arrived, 'message', { signal });
    return this.#messages.shift() ?? this.next();
  }
}
