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
import { reset } from './reset.ts';

const ANSWER_MILLISECONDS = 15_000;

export type Version = 3 | 4 | 5;

/** A topic filter with its options; a string has QoS 0 and no other. */
export type Filter =
  | string
  | {
      readonly topic: string;
      readonly qos?: 0 | 1 | 2;
      readonly nl?: boolean;
      readonly rap?: boolean;
      readonly rh?: number;
    };

/** The packets that carry a packet id and answer a PUBLISH. */
export type Acknowledgement = 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';

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
  /** Sees each packet first; true keeps it from everybody else. */
  intercept: ((packet: Packet) => boolean) | undefined;
  readonly #waiters: Waiter[] = [];
  #packetId = 0;
  #isClosed = false;
  #acknowledges = false;

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

  /** Answers PUBLISH and PUBREL of the server by the rules, beside showing them; those too that nobody has asked for yet. */
  set acknowledges(acknowledges: boolean) {
    if (acknowledges && !this.#acknowledges) for (const packet of this.received) this.#acknowledge(packet);
    this.#acknowledges = acknowledges;
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

  /** Publishes with the whole handshake and returns the reason code of its last packet (0 for MQTT 3.x). */
  async publishAcknowledged(
    topic: string,
    payload: string | Buffer,
    qos: 1 | 2,
    fields: Partial<IPublishPacket> = {},
  ): Promise<number> {
    const { messageId = this.nextPacketId() } = fields;
    this.publish(topic, payload, { ...fields, qos, messageId });
    if (qos === 1) return this.nextAcknowledgement('puback', messageId);
    const code = await this.nextAcknowledgement('pubrec', messageId);
    if (code >= 0x80) return code;
    this.acknowledge('pubrel', messageId);
    return this.nextAcknowledgement('pubcomp', messageId);
  }

  /** Publishes with the whole handshake, one message after the other. */
  async publishAll(topic: string, payloads: Iterable<string | number>, qos: 1 | 2): Promise<void> {
    for (const payload of payloads) await this.publishAcknowledged(topic, String(payload), qos);
  }

  /** Sends one acknowledgement; a reason code other than 0 for MQTT 5 only. */
  acknowledge(cmd: Acknowledgement, messageId: number, reasonCode = 0): void {
    this.send({ cmd, messageId, reasonCode } as Packet);
  }

  /** The reason code of the next acknowledgement of this kind and id. */
  async nextAcknowledgement(cmd: Acknowledgement, messageId: number): Promise<number> {
    const packet = await this.nextMatching(
      (candidate): candidate is Packet => candidate.cmd === cmd && candidate.messageId === messageId,
    );
    return 'reasonCode' in packet ? (packet.reasonCode ?? 0) : 0;
  }

  /** The reason code of the DISCONNECT with which the server has closed; undefined = closed without one. */
  async closingReason(): Promise<number | undefined> {
    await this.closed;
    const answer = this.received.find(({ cmd }) => cmd === 'disconnect');
    return answer?.cmd === 'disconnect' ? answer.reasonCode : undefined;
  }

  /** Subscribes and returns the SUBACK codes. */
  async subscribe(...filters: Filter[]): Promise<number[]> {
    return this.subscribeWith({}, ...filters);
  }

  async subscribeWith(properties: { subscriptionIdentifier?: number }, ...filters: Filter[]): Promise<number[]> {
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

  async unsubscribe(...filters: string[]): Promise<void> {
    const messageId = this.nextPacketId();
    this.send({ cmd: 'unsubscribe', messageId, unsubscriptions: filters });
    await this.next('unsuback');
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
    // Made here, where it says who waits.
    const late = new Error(`no such packet within ${ANSWER_MILLISECONDS} ms`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        late.message += `; not asked for: ${this.received.map(({ cmd }) => cmd).join(', ') || 'none'}`;
        reject(late);
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

  /** Packets of this kind that nobody has asked for, taken out. */
  taken<C extends Packet['cmd']>(cmd: C): Array<Extract<Packet, { cmd: C }>> {
    const isOne = (packet: Packet): packet is Extract<Packet, { cmd: C }> => packet.cmd === cmd;
    const taken = this.received.filter(isOne);
    const rest = this.received.filter((packet) => !isOne(packet));
    this.received.splice(0, this.received.length, ...rest);
    return taken;
  }

  /** Says goodbye and waits for the end. `sessionExpirySeconds`: MQTT 5 only. */
  async end(sessionExpirySeconds?: number): Promise<void> {
    if (this.#isClosed) return;
    const properties = sessionExpirySeconds === undefined ? {} : { sessionExpiryInterval: sessionExpirySeconds };
    this.send(
      (this.version === 5 ? { cmd: 'disconnect', reasonCode: 0, properties } : { cmd: 'disconnect' }) as Packet,
    );
    this.socket.end();
    await this.closed;
  }

  /** Cuts the connection as a crash would. */
  async abort(): Promise<void> {
    reset(this.socket);
    await this.closed;
  }

  #acknowledge(packet: Packet): void {
    if (packet.cmd === 'pubrel') this.acknowledge('pubcomp', packet.messageId ?? 0);
    if (packet.cmd !== 'publish' || packet.qos === 0) return;
    this.acknowledge(packet.qos === 1 ? 'puback' : 'pubrec', packet.messageId ?? 0);
  }

  #take(packet: Packet): void {
    if (this.#acknowledges) this.#acknowledge(packet);
    if (this.intercept?.(packet) === true) return;
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
