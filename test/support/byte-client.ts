/** A client for measurements: sends bytes that were made before and counts those that come, so that it costs next to nothing itself. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { connectPacket } from './raw-client.ts';

/** The bytes of an MQTT 3.1.1 packet. */
export function bytesOf(packet: Packet): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: 4 });
}

export class ByteClient {
  readonly socket: Socket;
  #bytes = 0;
  #wanted = 0;
  #reached: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.#bytes += chunk.length;
      if (this.#bytes >= this.#wanted) this.#reached?.();
    });
  }

  /** Resolves after CONNACK. */
  static async connect(port: number, clientId: string): Promise<ByteClient> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    const client = new ByteClient(socket);
    await client.ask(bytesOf(connectPacket({ clientId })), 4);
    return client;
  }

  async subscribe(filter: string, qos: 0 | 1 | 2 = 0): Promise<void> {
    await this.ask(bytesOf({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos }] }), 5);
  }

  /** Sends, and resolves when so many bytes more have come than were waited for before. */
  async ask(bytes: Buffer, answerBytes: number): Promise<void> {
    const answered = this.more(answerBytes);
    this.socket.write(bytes);
    await answered;
  }

  /** Resolves when so many bytes more have come than were waited for before. */
  more(bytes: number): Promise<void> {
    this.#wanted += bytes;
    if (this.#bytes >= this.#wanted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#reached = resolve;
    });
  }

  /** From now on reads at most so many bytes at a time, with pauses between, and acknowledges what it has read; returns the timer. */
  sip(bytes: number, everyMilliseconds: number): NodeJS.Timeout {
    this.socket.removeAllListeners('data');
    this.socket.pause();
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on('packet', (packet) => this.#acknowledge(packet));
    return setInterval(() => {
      const chunk: Buffer | null = this.socket.read(Math.min(bytes, this.socket.readableLength));
      if (chunk !== null) parser.parse(chunk);
    }, everyMilliseconds);
  }

  #acknowledge(packet: Packet): void {
    if (packet.cmd !== 'publish' || packet.qos !== 1 || packet.messageId === undefined) return;
    this.socket.write(bytesOf({ cmd: 'puback', messageId: packet.messageId }));
  }

  end(): void {
    this.socket.destroy();
  }
}
