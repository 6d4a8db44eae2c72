/** Peers that take their time: the connect timeout counts from accept, whatever comes meanwhile, and is not begun again by a handshake. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import mqttPacket from 'mqtt-packet';
import { Authority } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { freePort } from '../support/ports.ts';
import { binaryHeaderOf } from '../support/proxy-header.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { upgradeRequest } from '../support/upgrade-request.ts';

const TIMEOUT_SECONDS = 2;
/** The sweeps look every half second; the rest is for a machine that is busy. */
const LATE_SECONDS = 1.5;

const authority = new Authority();
const server = authority.issue('server');
after(() => authority.remove());

/** Long enough to still be coming at the end. */
const connectBytes = mqttPacket.generate(connectPacket({ clientId: 's'.repeat(500) }));
const header = binaryHeaderOf('192.0.2.1', 5_000);
/** Both of the ordinary kind and behind a trusted balancer. */
const nodes: Record<'direct' | 'balanced', TestNode> = {} as never;

before(async () => {
  for (const kind of ['direct', 'balanced'] as const) {
    nodes[kind] = await startNode({
      SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: String(TIMEOUT_SECONDS),
      SUPERMQ_MQTT_TLS_PORT: String(await freePort()),
      SUPERMQ_MQTT_WSS_PORT: String(await freePort()),
      SUPERMQ_TLS_CERT: server.certFile,
      SUPERMQ_TLS_KEY: server.keyFile,
      SUPERMQ_MQTT_PROXY_PROTOCOL_TRUSTED: kind === 'balanced' ? '127.0.0.1' : '',
    });
  }
});
after(() => Promise.all(Object.values(nodes).map((node) => node.stop())));

type ListenerName = 'tcp' | 'tls' | 'ws' | 'wss';

/** Not polite: goes on sending when the server has ended its side. */
async function open(kind: 'direct' | 'balanced', listener: ListenerName): Promise<Socket> {
  const port = nodes[kind].ports[listener] ?? 0;
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** One byte each 50 ms for as long as the socket is open; returns its life in seconds. */
async function drip(socket: Socket, bytes: Buffer, since = performance.now()): Promise<number> {
  let at = 0;
  const timer = setInterval(() => socket.write(bytes.subarray(at, ++at)), 50);
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
  clearInterval(timer);
  assert.ok(at < bytes.length, 'the bytes were still coming');
  return (performance.now() - since) / 1000;
}

function assertInTime(seconds: number): void {
  assert.ok(seconds > TIMEOUT_SECONDS - 0.2 && seconds < TIMEOUT_SECONDS + LATE_SECONDS, `closed after ${seconds} s`);
}

/** What a TLS client says first, more than enough of it. */
async function clientHello(): Promise<Buffer> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as { port: number };
  const tls = connectTls({ port, host: '127.0.0.1' });
  tls.on('error', () => {});
  const [socket] = await once(listener, 'connection');
  const [hello] = await once(socket, 'data');
  tls.destroy();
  socket.destroy();
  listener.close();
  return hello;
}

describe('slow peers', { concurrency: true }, () => {
  const slow: ReadonlyArray<[title: string, listener: ListenerName, bytes: () => Buffer | Promise<Buffer>]> = [
    ['CONNECT', 'tcp', () => connectBytes],
    ['a TLS handshake', 'tls', clientHello],
    ['a WebSocket upgrade', 'ws', () => upgradeRequest],
    ['a TLS handshake before a WebSocket upgrade', 'wss', clientHello],
  ];
  for (const [title, listener, bytes] of slow) {
    test(`${title} byte by byte is cut in time`, async () => {
      const all = Buffer.from(await bytes());
      assertInTime(await drip(await open('direct', listener), Buffer.concat([all, all, all])));
    });
  }

  for (const listener of ['tcp', 'tls', 'ws', 'wss'] as const) {
    test(`a PROXY header byte by byte is cut in time on ${listener}`, async () => {
      const long = Buffer.concat([Buffer.from('PROXY UNKNOWN '), Buffer.alloc(90, 'x')]);
      assertInTime(await drip(await open('balanced', listener), long));
    });
    test(`silence is cut in time on ${listener}, also behind a PROXY header`, async () => {
      const [direct, balanced] = [await open('direct', listener), await open('balanced', listener)];
      balanced.write(header);
      const lives = [direct, balanced].map(async (socket) => {
        const since = performance.now();
        socket.resume();
        await new Promise((resolve) => socket.once('end', resolve).once('close', resolve));
        const life = (performance.now() - since) / 1000;
        socket.destroy();
        return life;
      });
      for (const life of await Promise.all(lives)) assertInTime(life);
    });
  }

  test('the time for CONNECT began at accept: a slow TLS handshake and a slow header are part of it', async () => {
    for (const kind of ['direct', 'balanced'] as const) {
      const since = performance.now();
      const raw = await open(kind, 'tls');
      if (kind === 'balanced') raw.write(header);
      // The handshake begins when more than half of the time is over.
      await new Promise((resolve) => setTimeout(resolve, TIMEOUT_SECONDS * 600));
      const socket = connectTls({ socket: raw, ca: authority.cert, host: '127.0.0.1' });
      socket.on('error', () => {});
      await once(socket, 'secureConnect');
      assertInTime(await drip(socket, connectBytes, since));
    }
  });

  test('the time for CONNECT began at accept: a slow WebSocket upgrade is part of it', async () => {
    const since = performance.now();
    const socket = await open('direct', 'ws');
    await new Promise((resolve) => setTimeout(resolve, TIMEOUT_SECONDS * 600));
    socket.write(upgradeRequest);
    assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 101 /);
    // The first frame never ends.
    const frame = Buffer.concat([Buffer.from([0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4]), Buffer.alloc(256)]);
    assertInTime(await drip(socket, frame, since));
  });

  test('an HTTP request with a large header is refused at once', async () => {
    const socket = await open('direct', 'ws');
    const failed = nodes.direct.counters.arrivalsFailed.upgrade;
    socket.write(`GET /mqtt HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`);
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 4\d\d /);
    await eventually(() => nodes.direct.counters.arrivalsFailed.upgrade > failed, 'it is counted');
  });
});

test('of more sockets on their way than limits.maxArrivals the oldest are closed; those that come on are served', async () => {
  const node = await startNode({ SUPERMQ_LIMITS_MAX_ARRIVALS: '3' });
  const sockets: Socket[] = [];
  for (let n = 0; n < 5; n++) {
    const socket = connect({ port: node.ws, host: '127.0.0.1' });
    sockets.push(socket);
    await once(socket, 'connect');
    await eventually(() => node.counters.arrivalsFailed.crowded === Math.max(0, n - 2), `socket ${n} has arrived`);
  }
  const [first, second, ...others] = sockets;
  for (const socket of [first, second]) {
    socket?.resume();
    if (socket?.closed === false) await once(socket, 'close');
  }
  const [third] = others;
  third?.write(upgradeRequest);
  assert.match(String((await once(third ?? assert.fail(), 'data'))[0]), /^HTTP\/1\.1 101 /);
  const plain = await RawClient.connect(node.tcp);
  await plain.end();
  for (const socket of others) socket.destroy();
  await node.stop();
});

test('a connection counts against limits.maxConnections from before its TLS handshake until its socket is closed', async () => {
  const node = await startNode({
    SUPERMQ_LIMITS_MAX_CONNECTIONS: '2',
    SUPERMQ_MQTT_TLS_PORT: String(await freePort()),
    SUPERMQ_TLS_CERT: server.certFile,
    SUPERMQ_TLS_KEY: server.keyFile,
  });
  const silent = connect({ port: node.ports['tls'] ?? 0, host: '127.0.0.1' });
  await once(silent, 'connect');
  const client = await RawClient.connect(node.tcp);
  const refused = connect({ port: node.ports['tls'] ?? 0, host: '127.0.0.1' });
  refused.resume().on('error', () => {});
  await new Promise((resolve) => refused.once('close', resolve));
  assert.equal(node.counters.connectionsRefused, 1);
  silent.destroy();
  await eventually(() => node.counters.arrivalsFailed.left === 1, 'the silent socket is closed');
  const next = await RawClient.connect(node.tcp);
  for (const one of [client, next]) await one.end();
  await node.stop();
});
