/**
 * An MQTT client for tests that sends exactly what it is told, legal or not, and shows every packet that comes back.
 * Packets are made and read with mqtt-packet, apart from the server's own code.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import mqttPacket, {
  type IConnackPacket,
  type IConnectPacket,
  type IPublishPacket,
  type ISubackPacket,
  type Packet,
} from 'mqtt-packet';

const ANSWER_MILLISECONDS = 5_000;

export type Version = 3 | 4 | 5;

export interface ConnectFields extends Partial<Omit<IConnectPacket, 'cmd' | 'protocolVersion'>> {
  readonly version?: Version;
}

interface Waiter {
  readonly accepts: (packet: Packet) => boolean;
  readonly resolve: (packet: Packet) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class RawClient {
  readonly socket: Socket;
  readonly version: Version;
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>;
  /** Packets that came and nobody has asked for yet, in order. */
  readonly received: Packet[] = [];
  readonly #waiters: Waiter[] = [];
  #packetId = 0;
  #isClosed = false;

  private constructor(socket: Socket, version: Version) {
    this.socket = socket;
    this.version = version;
    const parser = mqttPacket.parser({ protocolVersion: version });
    parser.on('packet', (packet) => this.#take(packet));
    socket.on('data', (chunk) => parser.parse(chunk));
    socket.on('error', () => {});
    this.closed = new Promise<void>((resolve) => socket.once('close', () => resolve())).then(() => {
      this.#isClosed = true;
      for (const waiter of this.#waiters.splice(0)) {
        clearTimeout(waiter.timer);
        waiter.reject(new Error('the connection was closed'));
      }
    });
  }

  /** Opens the network connection and sends nothing. */
  static async open(port: number, version: Version = 4): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new RawClient(socket, version);
  }

  /** Opens, sends CONNECT and waits for a CONNACK, whatever it says. */
  static async connect(
    port: number,
    fields: ConnectFields = {},
  ): Promise<RawClient & { readonly connack: IConnackPacket }> {
    const client = await RawClient.open(port, fields.version ?? 4);
    client.send(connectPacket(fields));
    const connack = await client.next('connack');
    return Object.assign(client, { connack });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Sends a packet object, or bytes as they are. */
  send(packet: Packet | Buffer): void {
    this.socket.write(
      Buffer.isBuffer(packet) ? packet : mqttPacket.generate(packet, { protocolVersion: this.version }),
    );
  }

  nextPacketId(): number {
    this.#packetId = (this.#packetId % 65_535) + 1;
    return this.#packetId;
  }

  publish(topic: string, payload: string | Buffer, fields: Partial<IPublishPacket> = {}): void {
    this.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...fields });
  }

  /** Subscribes and returns the SUBACK codes. */
  async subscribe(
    ...filters: Array<string | { topic: string; nl?: boolean; rap?: boolean; rh?: number }>
  ): Promise<number[]> {
    return this.subscribeWith({}, ...filters);
  }

  async subscribeWith(
    properties: { subscriptionIdentifier?: number },
    ...filters: Array<string | { topic: string; nl?: boolean; rap?: boolean; rh?: number }>
  ): Promise<number[]> {
    const messageId = this.nextPacketId();
    const subscriptions = filters.map((filter) => ({
      qos: 0 as const,
      ...(typeof filter === 'string' ? { topic: filter } : filter),
    }));
    this.send({ cmd: 'subscribe', messageId, subscriptions, ...(this.version === 5 ? { properties } : {}) } as Packet);
    const suback: ISubackPacket = await this.nextMatching(
      (packet): packet is ISubackPacket => packet.cmd === 'suback' && packet.messageId === messageId,
    );
    return suback.granted as number[];
  }

  /** The next packet of this kind, in order of arrival; others stay for later. */
  next<C extends Packet['cmd']>(cmd: C): Promise<Extract<Packet, { cmd: C }>> {
    return this.nextMatching((packet): packet is Extract<Packet, { cmd: C }> => packet.cmd === cmd);
  }

  /** Topic and payload of the next `count` messages. */
  async messages(count: number): Promise<Array<{ topic: string; payload: string }>> {
    const messages: Array<{ topic: string; payload: string }> = [];
    while (messages.length < count) {
      const { payload, topic } = await this.next('publish');
      messages.push({ topic, payload: payload.toString() });
    }
    return messages;
  }

  nextMatching<P extends Packet>(accepts: (packet: Packet) => packet is P): Promise<P> {
    const index = this.received.findIndex(accepts);
    const [known] = index < 0 ? [] : this.received.splice(index, 1);
    if (known !== undefined) return Promise.resolve(known as P);
    if (this.#isClosed) return Promise.reject(new Error('the connection was closed'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(new Error(`no such packet within ${ANSWER_MILLISECONDS} ms`));
      }, ANSWER_MILLISECONDS);
      const waiter: Waiter = { accepts, reject, timer, resolve: (packet) => resolve(packet as P) };
      this.#waiters.push(waiter);
    });
  }

  /** A round trip: whatever the server had sent before is in {@link received} afterwards. */
  async ping(): Promise<void> {
    this.send({ cmd: 'pingreq' });
    await this.next('pingresp');
  }

  /** Says goodbye and waits for the end. */
  async end(): Promise<void> {
    if (this.#isClosed) return;
    this.send({ cmd: 'disconnect' } as Packet);
    this.socket.end();
    await this.closed;
  }

  /** Cuts the connection as a crash would. */
  async abort(): Promise<void> {
    this.socket.resetAndDestroy();
    await this.closed;
  }

  #take(packet: Packet): void {
    const index = this.#waiters.findIndex((waiter) => waiter.accepts(packet));
    const [waiter] = index < 0 ? [] : this.#waiters.splice(index, 1);
    if (waiter === undefined) {
      this.received.push(packet);
      return;
    }
    clearTimeout(waiter.timer);
    waiter.resolve(packet);
  }
}

/** CONNECT with defaults that any server accepts. */
export function connectPacket({ version = 4, ...fields }: ConnectFields): IConnectPacket {
  return {
    cmd: 'connect',
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: version,
    clean: true,
    clientId: `raw-${Math.random().toString(36).slice(2)}`,
    keepalive: 60,
    ...fields,
  } as IConnectPacket;
}
