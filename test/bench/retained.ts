/**
 * Retained messages in large numbers: 100,000 of them on one node with a real nats-server (one replica, file). How long a new subscription
 * takes to have one, a hundred, all; what the node grows by; what other clients notice; and 1,000 clients that ask for everything at once.
 *
 *   npm run bench:retained -- [messages] [clients]
 */
import { execFile } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { promisify } from 'node:util';
import mqttPacket from 'mqtt-packet';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { loadGenerator } from './load-generator.ts';
import { cpuSeconds, residentMegabytes } from './process-figures.ts';

const [messages = 100_000, crowd = 1_000] = process.argv.slice(2).map(Number);
const generator = await loadGenerator();
const CROWD_MILLISECONDS = 30_000;

/** A subscriber that counts PUBLISH packets without looking into them. */
class Counter {
  count = 0;
  reached: () => void = () => {};
  readonly #socket: Socket;
  #rest = Buffer.alloc(0);
  #wanted = Number.POSITIVE_INFINITY;

  constructor(port: number, filter: string) {
    const id = `counter-${Math.random()}`;
    this.#socket = connect({ port, host: '127.0.0.1' });
    this.#socket.on('error', () => {});
    this.#socket.on('data', (chunk) => this.#take(chunk));
    this.#socket.write(
      mqttPacket.generate({
        cmd: 'connect',
        clientId: id,
        protocolId: 'MQTT',
        protocolVersion: 4,
        clean: true,
        keepalive: 0,
      }),
    );
    this.#socket.write(
      mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos: 0 }] }),
    );
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  wait(count: number): Promise<void> {
    this.#wanted = count;
    return new Promise((resolve) => {
      this.reached = resolve;
      if (this.count >= count) resolve();
    });
  }

  end(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      // Packets of this run are shorter than 128 bytes.
      const length = (bytes[at + 1] ?? 0) + 2;
      if (at + 2 > bytes.length || at + length > bytes.length) break;
      if ((bytes[at] ?? 0) >> 4 === 3) this.count++;
      at += length;
    }
    this.#rest = Buffer.from(bytes.subarray(at));
    if (this.count >= this.#wanted) this.reached();
  }
}

/** Publishes everything with QoS 1, 50 under way. */
async function fill(port: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' });
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  let next = 0;
  let acknowledged = 0;
  const send = (): void => {
    if (next >= messages) return;
    const topic = `site/${Math.floor(next / 100)}/sensor/${next % 100}`;
    const messageId = (next % 60_000) + 1;
    next++;
    socket.write(
      mqttPacket.generate({
        cmd: 'publish',
        topic,
        payload: 'value 0123456789',
        qos: 1,
        messageId,
        retain: true,
        dup: false,
      }),
    );
  };
  await new Promise<void>((resolve) => {
    parser.on('packet', ({ cmd }) => {
      if (cmd === 'connack') for (let i = 0; i < 50; i++) send();
      if (cmd !== 'puback') return;
      send();
      if (++acknowledged === messages) resolve();
    });
    socket.on('data', (chunk) => parser.parse(chunk));
    socket.write(
      mqttPacket.generate({
        cmd: 'connect',
        clientId: 'fill',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clean: true,
        keepalive: 0,
      }),
    );
  });
  socket.destroy();
}

/** p50 and p99 of others' messages at 1,000 a second, in µs. */
async function latency(port: number): Promise<string> {
  const args = ['latency', '--secs', '4', '-h', `127.0.0.1:${port}`];
  const { stdout } = await promisify(execFile)(generator, args);
  const { lat_us: figures } = JSON.parse(stdout) as { lat_us: Record<string, number> };
  return `p50 ${figures['p50']} µs, p99 ${figures['p99']} µs`;
}

async function main(): Promise<void> {
  const nats = await startNatsServer();
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url });
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const started = performance.now();
  await fill(edge.tcp);
  say(`${messages} retained in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  say(`others, idle: ${await latency(edge.tcp)}`);
  for (const [filter, count] of [
    ['site/7/sensor/7', 1],
    ['site/7/#', 100],
    ['#', messages],
  ] as const) {
    for (let round = 0; round < 3; round++) {
      const [rss, cpu, natsCpu, begin] = [
        residentMegabytes(edge.pid),
        cpuSeconds(edge.pid),
        cpuSeconds(nats.pid),
        performance.now(),
      ];
      const client = new Counter(edge.tcp, filter);
      await client.wait(count);
      const milliseconds = performance.now() - begin;
      const grown = residentMegabytes(edge.pid) - rss;
      client.end();
      say(
        `${filter}: ${client.count} in ${milliseconds.toFixed(1)} ms, RSS +${grown.toFixed(0)} MB, ` +
          `CPU ${(cpuSeconds(edge.pid) - cpu).toFixed(2)} s, NATS ${(cpuSeconds(nats.pid) - natsCpu).toFixed(2)} s`,
      );
    }
  }
  let isReading = true;
  const reading = (async () => {
    while (isReading) {
      const client = new Counter(edge.tcp, '#');
      await client.wait(messages);
      client.end();
    }
  })();
  say(`others, while # is read again and again: ${await latency(edge.tcp)}`);
  isReading = false;
  await reading;
  const [rss, natsRss] = [residentMegabytes(edge.pid), residentMegabytes(nats.pid)];
  const clients = Array.from({ length: crowd }, () => new Counter(edge.tcp, '#'));
  await new Promise((resolve) => setTimeout(resolve, CROWD_MILLISECONDS));
  const counts = clients.map(({ count }) => count).sort((a, b) => a - b);
  say(
    `${crowd} clients ask for # at once: after ${CROWD_MILLISECONDS / 1000} s ${counts.reduce((a, b) => a + b)} messages delivered, ` +
      `least ${counts[0]}, most ${counts.at(-1)}; connected ${clients.filter(({ isOpen }) => isOpen).length}; ` +
      `RSS +${(residentMegabytes(edge.pid) - rss).toFixed(0)} MB, NATS +${(residentMegabytes(nats.pid) - natsRss).toFixed(0)} MB; readyz ${await edge.status('readyz')}`,
  );
  for (const client of clients) client.end();
  await edge.kill();
  await nats.stop();
}

await main();
