/**
 * A hostile peer in a process of its own: `attacker.ts ATTACK PORT SECONDS`. It attacks from 127.0.0.2, so that limits per address tell it from the
 * clients of the test, and prints how often it did what it does.
 */
import { connect, type Socket } from 'node:net';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { connectPacket } from '../support/raw-client.ts';

const [attack = '', port = '', seconds = ''] = process.argv.slice(2);
const until = performance.now() + Number(seconds) * 1000;
const isOver = (): boolean => performance.now() > until;
let count = 0;

function open(): Socket {
  const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress: '127.0.0.2', noDelay: true });
  return socket.on('error', () => {});
}

function bytesOf(packet: Packet): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: 4 });
}

/** Does `once` with so many connections at a time, again whenever one has ended. */
function keepGoing(atATime: number, once: (socket: Socket) => void): void {
  const next = (): void => {
    if (isOver()) return;
    const socket = open();
    socket.once('connect', () => {
      count++;
      once(socket);
    });
    socket.once('close', () => setImmediate(next));
    socket.resume();
  };
  for (let i = 0; i < atATime; i++) next();
}

/** Sends what `make` makes on connections that have their CONNACK, until the server closes them. */
function onceConnected(atATime: number, make: () => Buffer): void {
  keepGoing(atATime, (socket) => {
    socket.write(bytesOf(connectPacket({})));
    socket.once('data', () => socket.write(make()));
  });
}

const filters = (from: number, size: number): Buffer =>
  bytesOf({
    cmd: 'subscribe',
    messageId: 1 + (from % 65_535),
    subscriptions: Array.from({ length: size }, (_, i) => ({ topic: `bomb/${from + i}`, qos: 0 as const })),
  });

const publishTo = (topic: string): Buffer =>
  bytesOf({ cmd: 'publish', topic, payload: 'x', qos: 0, dup: false, retain: false });

const attacks: Readonly<Record<string, () => void>> = {
  /** Connections with garbage, as fast as this process can. */
  garbage: () => keepGoing(64, (socket) => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')),
  /** Connections with a CONNECT that says that it is 256 MB. */
  claims: () => keepGoing(64, (socket) => socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]))),
  /** As large as it may be, and then next to nothing comes. */
  promises: () => {
    for (let i = 0; i < 2_000; i++)
      open().once('connect', function (this: Socket) {
        count++;
        this.write(Buffer.from([0x10, 0xf0, 0xff, 0x3f, 0, 4]));
      });
  },
  /** CONNECT byte by byte. */
  loris: () => {
    const bytes = bytesOf(connectPacket({ clientId: 'x'.repeat(200) }));
    keepGoing(500, (socket) => {
      let sent = 0;
      const timer = setInterval(() => {
        if (isOver()) socket.destroy();
        socket.write(bytes.subarray(sent, ++sent));
      }, 150);
      socket.once('close', () => clearInterval(timer));
    });
  },
  /** One client, a million filters, all of them new. */
  filters: () => {
    const [size, total] = [10_000, 1_000_000];
    const socket = open();
    let answered = 0;
    socket.write(bytesOf(connectPacket({})));
    socket.on('data', (chunk) => {
      answered += chunk.length;
    });
    const send = (): void => {
      for (; count < total && !socket.destroyed; ) {
        const packet = filters(count, size);
        count += size;
        if (!socket.write(packet)) return;
      }
      if (answered > total || isOver()) socket.destroy();
      else setTimeout(send, 50);
    };
    socket.once('data', send);
    socket.on('drain', send);
  },
  /** Topics of 64 KB, and of as many levels. */
  topics: () => {
    const bombs = [publishTo('x'.repeat(65_535)), publishTo('/'.repeat(65_535)), publishTo('a/'.repeat(32_767))];
    const deep = bytesOf({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '+/'.repeat(32_767), qos: 0 }] });
    onceConnected(16, () => Buffer.concat([deep, deep, bombs[count % bombs.length] ?? deep]));
  },
};

attacks[attack]?.();
setTimeout(
  () => {
    process.stdout.write(`${count}\n`, () => process.exit(0));
  },
  Number(seconds) * 1000 + 200,
);
