/**
 * An MQTT 5 client of the tests whose session outlives its connections: it acknowledges by the rules, or as a test says, and keeps
 * what arrived over all of them. Where single packets matter, tests use raw-client.ts.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import mqttPacket, { type IConnackPacket, type IConnectPacket, type IPublishPacket, type Packet } from 'mqtt-packet';
import { poll } from './poll.ts';
import { reset } from './reset.ts';

const ANSWER_MILLISECONDS = 15_000;

/** A PUBLISH that has come; `number` is its payload up to the first space. */
export interface Arrival {
  readonly topic: string;
  readonly number: number;
  readonly qos: 0 | 1 | 2;
  readonly packetId: number;
  readonly isDuplicate: boolean;
  /** Message Expiry Interval. */
  readonly expirySeconds: number | undefined;
}

export interface SessionConnect {
  /** Default false. */
  readonly clean?: boolean;
  /** Seconds; default 600. */
  readonly expiry?: number;
  readonly receiveMaximum?: number;
}

export class SessionClient {
  readonly clientId: string;
  /** Each PUBLISH as it came; one that a QoS 2 receiver has to discard is in {@link discarded} instead. */
  readonly arrivals: Arrival[] = [];
  /** Copies of a QoS 2 message whose packet id was not released yet. */
  readonly discarded: Arrival[] = [];
  /** Whether a PUBLISH is acknowledged when it comes. */
  acknowledges: (arrival: Arrival) => boolean = () => true;
  /** Called with each arrival. */
  arrived: (arrival: Arrival) => void = () => {};
  connack: IConnackPacket | undefined;
  /** Reason code of the DISCONNECT that the server sent on the last connection. */
  disconnectReason: number | undefined;
  /** Resolves at the end of the last connection. */
  closed: Promise<void> = Promise.resolve();
  #socket: Socket | undefined;
  #isOpen = false;
  #nextId = 0;
  /** QoS 2 messages that came and are not released. */
  readonly #unreleased = new Set<number>();
  readonly #answers = new Map<string, { resolve: (packet: Packet) => void; reject: (error: Error) => void }>();

  constructor(clientId: string) {
    this.clientId = clientId;
  }

  /** Connects with an own client id and a session that stays. */
  static async connect(port: number, clientId: string, fields: SessionConnect = {}): Promise<SessionClient> {
    const client = new SessionClient(clientId);
    await client.connect(port, fields);
    return client;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get sessionPresent(): boolean {
    return this.connack?.sessionPresent === true;
  }

  /** The numbers that came, in order, repetitions left out. */
  numbers(): number[] {
    return [...new Set(this.arrivals.map(({ number }) => number))];
  }

  /** Opens another connection for the same client; rejects when the server refuses. */
  async connect(
    port: number,
    { clean = false, expiry = 600, receiveMaximum = 65_535 }: SessionConnect = {},
  ): Promise<void> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    this.disconnectReason = undefined;
    if (clean) this.#unreleased.clear();
    const parser = mqttPacket.parser({ protocolVersion: 5 });
    parser.on('packet', (packet) => this.#take(packet, socket));
    socket.on('data', (chunk) => parser.parse(chunk));
    socket.on('error', () => {});
    // Not `once`: it rejects when the server's process was killed.
    this.closed = new Promise<void>((resolve) => socket.once('close', () => resolve())).then(() => {
      if (this.#socket !== socket) return;
      this.#isOpen = false;
      for (const { reject } of this.#answers.values()) reject(new Error('the connection was closed'));
      this.#answers.clear();
    });
    await once(socket, 'connect');
    const connack = this.#answer('connack', 0);
    this.#send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 5,
      clientId: this.clientId,
      clean,
      keepalive: 60,
      properties: { sessionExpiryInterval: expiry, receiveMaximum },
    } as IConnectPacket);
    this.connack = (await connack) as IConnackPacket;
    if (this.connack.reasonCode !== 0) throw new Error(`refused with ${this.connack.reasonCode}`);
    this.#isOpen = true;
  }

  /** Subscribes to one filter; rejects when it is not granted as asked. */
  async subscribe(topic: string, qos: 0 | 1 | 2): Promise<void> {
    const messageId = this.#freeId();
    const suback = this.#answer('suback', messageId);
    this.#send({ cmd: 'subscribe', messageId, subscriptions: [{ topic, qos }], properties: {} } as Packet);
    const answer = await suback;
    const code = answer.cmd === 'suback' ? answer.granted[0] : undefined;
    if (code !== qos) throw new Error(`granted ${code}`);
  }

  async unsubscribe(topic: string): Promise<void> {
    const messageId = this.#freeId();
    const unsuback = this.#answer('unsuback', messageId);
    this.#send({ cmd: 'unsubscribe', messageId, unsubscriptions: [topic] });
    await unsuback;
  }

  /** Publishes; resolves with the reason code of the last packet of the exchange. */
  async publish(topic: string, payload: string | Buffer, fields: Partial<IPublishPacket> = {}): Promise<number> {
    const { qos = 1 } = fields;
    const messageId = qos === 0 ? 0 : this.#freeId();
    const answer = qos === 0 ? undefined : this.#answer(qos === 1 ? 'puback' : 'pubcomp', messageId);
    this.#send({ cmd: 'publish', topic, payload, qos, dup: false, retain: false, messageId, ...fields });
    const packet = await answer;
    return packet?.cmd === 'puback' || packet?.cmd === 'pubcomp' ? (packet.reasonCode ?? 0) : 0;
  }

  /** Acknowledges a PUBLISH that {@link acknowledges} has left open. */
  acknowledge({ packetId, qos }: Arrival): void {
    if (qos > 0) this.#send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId: packetId });
  }

  /** Reads nothing any more: the server's packets pile up. */
  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** Says goodbye; the session stays. */
  async leave(): Promise<void> {
    if (!this.#isOpen) return;
    this.#send({ cmd: 'disconnect', reasonCode: 0, properties: {} } as Packet);
    this.#socket?.end();
    await this.closed;
  }

  /** Cuts the connection as a crash would. */
  async abort(): Promise<void> {
    if (this.#socket !== undefined) reset(this.#socket);
    await this.closed;
  }

  /** Says goodbye and ends the session. */
  async forget(): Promise<void> {
    if (!this.#isOpen) return;
    this.#send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } } as Packet);
    this.#socket?.end();
    await this.closed;
  }

  /** Waits until so many different numbers have come. */
  async waitFor(count: number, timeoutMs = 20_000): Promise<void> {
    const check = async (): Promise<boolean> => this.arrivals.length >= count && this.numbers().length >= count;
    await poll(check, { what: `${count} messages at ${this.clientId}`, timeoutMs }).catch((error: Error) => {
      throw new Error(`${error.message}; ${this.numbers().length} came`);
    });
  }

  #freeId(): number {
    this.#nextId = (this.#nextId % 65_535) + 1;
    return this.#nextId;
  }

  #answer(cmd: Packet['cmd'], messageId: number): Promise<Packet> {
    const key = `${cmd} ${messageId}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no ${key} within ${ANSWER_MILLISECONDS} ms`)),
        ANSWER_MILLISECONDS,
      );
      this.#answers.set(key, {
        resolve: (packet) => {
          clearTimeout(timer);
          resolve(packet);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  #send(packet: Packet): void {
    if (this.#socket?.writable === true) this.#socket.write(mqttPacket.generate(packet, { protocolVersion: 5 }));
  }

  #take(packet: Packet, socket: Socket): void {
    if (socket !== this.#socket) return;
    if (packet.cmd === 'publish') return this.#receive(packet);
    if (packet.cmd === 'disconnect') this.disconnectReason = packet.reasonCode;
    if (packet.cmd === 'pubrec' && (packet.reasonCode ?? 0) < 0x80) {
      this.#send({ cmd: 'pubrel', messageId: packet.messageId ?? 0 });
    }
    if (packet.cmd === 'pubrel') {
      this.#unreleased.delete(packet.messageId ?? 0);
      this.#send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 });
    }
    const key = `${packet.cmd} ${packet.messageId ?? 0}`;
    const answered = this.#answers.get(key);
    this.#answers.delete(key);
    answered?.resolve(packet);
  }

  #receive({ dup, messageId = 0, payload, properties, qos, topic }: IPublishPacket): void {
    const number = Number.parseInt(payload.toString().slice(0, 16), 10);
    const expirySeconds = properties?.messageExpiryInterval;
    const arrival: Arrival = { topic, number, qos, packetId: messageId, isDuplicate: dup, expirySeconds };
    const isKnown = qos === 2 && this.#unreleased.has(messageId);
    if (qos === 2) this.#unreleased.add(messageId);
    (isKnown ? this.discarded : this.arrivals).push(arrival);
    if (!isKnown) this.arrived(arrival);
    if (this.acknowledges(arrival)) this.acknowledge(arrival);
  }
}

export interface Numbers {
  readonly from?: number;
  readonly to: number;
  readonly qos?: 1 | 2;
  readonly topic: string | ((number: number) => string);
  /** Payload behind the number. Default none. */
  readonly padding?: number;
  /** Messages that wait for their acknowledgement; default 50. */
  readonly window?: number;
}

/** Publishes the numbers `from` … `to - 1` in order and resolves when all are acknowledged. */
export async function publishNumbers(client: SessionClient, options: Numbers): Promise<void> {
  const { from = 0, padding = 0, qos = 1, to, topic, window = 50 } = options;
  const topicOf = typeof topic === 'string' ? () => topic : topic;
  const tail = padding === 0 ? '' : ` ${'x'.repeat(padding)}`;
  let next = from;
  const worker = async (): Promise<void> => {
    while (next < to) {
      const number = next++;
      const code = await client.publish(topicOf(number), String(number) + tail, { qos });
      if (code >= 0x80) throw new Error(`message ${number} was refused with ${code}`);
    }
  };
  await Promise.all(Array.from({ length: window }, worker));
}

/** 0 … count - 1. */
export function range(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, index) => from + index);
}
