/** The PROXY protocol on every listener: by hand, cut at every byte, and as haproxy speaks it. Only trusted addresses are believed. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import mqttPacket from 'mqtt-packet';
import { WebSocket } from 'ws';
import { systemClock } from '../../src/clock.ts';
import { makeLog } from '../../src/log.ts';
import { Authority } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { freePort } from '../support/ports.ts';
import { binaryHeader, binaryHeaderOf } from '../support/proxy-header.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { upgradeRequest } from '../support/upgrade-request.ts';
import { endsWithParent } from '../support/with-parent.ts';

const authority = new Authority();
const server = authority.issue('server');
after(() => authority.remove());

const connectBytes = mqttPacket.generate(connectPacket({ clientId: 'proxied' }));
const LINE = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 55556 1883\r\n');
const BINARY = binaryHeaderOf('192.0.2.1', 55_556);

interface LoggedNode extends TestNode {
  readonly lines: string[];
}

/** The lines of its log at level debug tell who connected from where. */
async function startProxiedNode(trusted: string, env: Record<string, string> = {}): Promise<LoggedNode> {
  const lines: string[] = [];
  const complete = {
    SUPERMQ_MQTT_TLS_PORT: String(await freePort()),
    SUPERMQ_MQTT_WSS_PORT: String(await freePort()),
    SUPERMQ_TLS_CERT: server.certFile,
    SUPERMQ_TLS_KEY: server.keyFile,
    SUPERMQ_MQTT_PROXY_PROTOCOL_TRUSTED: trusted,
    ...env,
  };
  const node = await startNode(
    complete,
    systemClock,
    makeLog('debug', 'proxied', { write: (line) => void lines.push(line) }),
  );
  return { ...node, lines };
}

interface SeenPeer {
  readonly address: string;
  readonly port: number;
  readonly listener: string;
}

/** Who the server takes the client with this id for. */
async function peerOf(node: LoggedNode, clientId: string): Promise<SeenPeer> {
  let peer: SeenPeer | undefined;
  await eventually(() => {
    for (const line of node.lines) {
      const fields = JSON.parse(line);
      if (fields.event === 'connection.accepted' && fields.clientId === clientId) peer = fields.peer;
    }
    return peer !== undefined;
  }, `${clientId} is connected`);
  return peer ?? assert.fail();
}

async function open(port = 0): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** The first byte that comes back, undefined when the connection is closed without one. */
async function firstByte(socket: Duplex): Promise<number | undefined> {
  return new Promise((resolve) => {
    socket.once('data', (chunk: Buffer) => resolve(chunk[0]));
    socket.once('close', () => resolve(undefined));
  });
}

describe('a trusted balancer', () => {
  let node: LoggedNode;
  before(async () => {
    node = await startProxiedNode('10.0.0.0/8,127.0.0.0/8,::1');
  });
  after(() => node.stop());

  for (const [version, header] of [
    ['1', LINE],
    ['2', BINARY],
  ] as const) {
    test(`version ${version}, in two pieces cut at every byte, before MQTT over TCP`, async () => {
      const stream = Buffer.concat([header, connectBytes]);
      for (let cut = 1; cut < stream.length; cut++) {
        const socket = await open(node.tcp);
        const answered = firstByte(socket);
        socket.write(stream.subarray(0, cut));
        await turn();
        socket.write(stream.subarray(cut));
        assert.equal(await answered, 0x20, `cut at ${cut}`);
        socket.destroy();
      }
    });

    test(`version ${version} before an upgrade to WebSocket, cut at every byte`, async () => {
      const stream = Buffer.concat([header, upgradeRequest]);
      for (let cut = 1; cut < stream.length; cut += cut < header.length + 2 ? 1 : 17) {
        const socket = await open(node.ws);
        const answer = once(socket, 'data');
        socket.write(stream.subarray(0, cut));
        await turn();
        socket.write(stream.subarray(cut));
        assert.match(String((await answer)[0]), /^HTTP\/1\.1 101 /, `cut at ${cut}`);
        socket.destroy();
      }
    });

    test(`version ${version}: the client's address is its peer's on every listener`, async () => {
      for (const listener of ['tcp', 'ws', 'tls', 'wss'] as const) {
        const clientId = `v${version}-${listener}`;
        await connectThrough(node, listener, header, clientId);
        assert.deepEqual(await peerOf(node, clientId), { address: '192.0.2.1', port: 55_556, listener });
      }
    });

    test(`version ${version} and the TLS handshake in one piece`, async () => {
      const raw = await open(node.ports['tls']);
      const tls = connectTls({ socket: joined(raw, header), ca: authority.cert, host: '127.0.0.1' });
      tls.write(connectBytes);
      assert.equal(await firstByte(tls), 0x20);
      tls.destroy();
      raw.destroy();
    });
  }

  test('UNKNOWN and LOCAL: the client has the address of the balancer', async () => {
    const headers = { unknown: Buffer.from('PROXY UNKNOWN\r\n'), local: binaryHeader({ command: 0x20, family: 0 }) };
    for (const [name, header] of Object.entries(headers)) {
      await connectThrough(node, 'tcp', header, name);
      assert.equal((await peerOf(node, name)).address, '127.0.0.1');
    }
  });

  test('anything else than a header is closed without an answer, on every listener', async () => {
    for (const listener of ['tcp', 'ws', 'tls', 'wss'] as const) {
      for (const bytes of [
        connectBytes,
        upgradeRequest,
        Buffer.from('16030100', 'hex'),
        Buffer.from('PROXY TCP4 x\r\n'),
      ]) {
        const failed = node.counters.arrivalsFailed.proxyHeader;
        const socket = await open(node.ports[listener]);
        socket.write(bytes);
        assert.equal(await firstByte(socket), undefined);
        await eventually(() => node.counters.arrivalsFailed.proxyHeader === failed + 1, 'it is counted');
      }
    }
  });

  test('a second header is no header', async () => {
    const socket = await open(node.tcp);
    socket.write(Buffer.concat([LINE, LINE, connectBytes]));
    assert.equal(await firstByte(socket), undefined);
  });

  test('a balancer that goes away within its header leaves nothing behind', async () => {
    const left = node.counters.arrivalsFailed.left;
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const socket = await open(node.tcp);
      socket.write(LINE.subarray(0, 10));
      socket[end]();
    }
    await eventually(() => node.counters.arrivalsFailed.left === left + 2, 'both are counted');
  });
});

/** Connects an MQTT client behind a header and leaves it open. */
async function connectThrough(node: TestNode, listener: string, header: Buffer, clientId: string): Promise<void> {
  const bytes = mqttPacket.generate(connectPacket({ clientId }));
  const raw = await open(node.ports[listener]);
  raw.write(header);
  const isTls = listener === 'tls' || listener === 'wss';
  const stream = isTls ? connectTls({ socket: raw, ca: authority.cert, host: '127.0.0.1' }) : raw;
  if (listener === 'tcp' || listener === 'tls') {
    stream.write(bytes);
    assert.equal(await firstByte(stream), 0x20);
    return;
  }
  const socket = new WebSocket('ws://127.0.0.1/mqtt', ['mqtt'], { createConnection: () => stream });
  await once(socket, 'open');
  socket.send(bytes);
  assert.equal((await once(socket, 'message'))[0][0], 0x20);
}

/** The socket with `header` in one write with what is written first. */
function joined(socket: Socket, header: Buffer): Duplex {
  let before = header;
  const duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      socket.write(Buffer.concat([before, chunk]), done);
      before = Buffer.alloc(0);
    },
  });
  socket.on('data', (chunk) => duplex.push(chunk));
  return duplex;
}

test('who is not trusted is not read a header from: it is no MQTT, and the address stays that of the socket', async () => {
  const node = await startProxiedNode('192.0.2.0/24');
  for (const header of [LINE, BINARY]) {
    const socket = await open(node.tcp);
    socket.write(Buffer.concat([header, connectBytes]));
    assert.equal(await firstByte(socket), undefined);
  }
  const client = await RawClient.connect(node.tcp, { clientId: 'plain' });
  assert.equal((await peerOf(node, 'plain')).address, '127.0.0.1');
  await client.end();
  await node.stop();
});

test('on a listener for IPv4 and IPv6 an IPv4 client has its IPv4 address, and an IPv4 balancer is trusted', async () => {
  const node = await startProxiedNode('', { SUPERMQ_MQTT_TCP_HOST: '::' });
  const client = await RawClient.connect(node.tcp, { clientId: 'mapped' });
  assert.equal((await peerOf(node, 'mapped')).address, '127.0.0.1');
  await client.end();
  await node.stop();
  const behind = await startProxiedNode('127.0.0.1', { SUPERMQ_MQTT_TCP_HOST: '::' });
  await connectThrough(behind, 'tcp', LINE, 'behind');
  assert.equal((await peerOf(behind, 'behind')).address, '192.0.2.1');
  await behind.stop();
});

const haproxy = ['/usr/sbin/haproxy', 'haproxy'].find((name) => spawnSync(name, ['-v']).error === undefined);

const hasClient = spawnSync('mosquitto_pub', ['--help']).error === undefined;
const skip = haproxy !== undefined && hasClient ? false : 'haproxy or mosquitto_pub is not installed';

describe('haproxy', { skip }, () => {
  let node: LoggedNode;
  let child: ChildProcess;
  const ports: Record<string, number> = {};

  before(async () => {
    node = await startProxiedNode('127.0.0.1');
    const chain = join(authority.folder, 'chain.pem');
    writeFileSync(chain, server.cert + server.key);
    // From another address of this machine: haproxy is at 127.0.0.1.
    const bind = { v1: '', v2: '', ssl: ` ssl crt ${chain} ca-file ${authority.certFile} verify optional`, ws: '' };
    const send = { v1: 'send-proxy', v2: 'send-proxy-v2', ssl: 'send-proxy-v2-ssl-cn', ws: 'send-proxy-v2' };
    let text =
      'global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n';
    for (const kind of ['v1', 'v2', 'ssl', 'ws'] as const) {
      const port = await freePort();
      ports[kind] = port;
      const to = `127.0.0.1:${kind === 'ws' ? node.ws : node.tcp} source 127.0.0.1 ${send[kind]}`;
      text += `listen ${kind}\n  bind 127.0.0.2:${port}${bind[kind]}\n  server edge ${to}\n`;
    }
    const file = join(authority.folder, 'haproxy.cfg');
    writeFileSync(file, text);
    const [command, args] = endsWithParent(haproxy ?? '', ['-f', file, '-db']);
    child = spawn(command, args, { stdio: 'ignore' });
    await eventually(async () => await answers(ports['ws'] ?? 0), 'haproxy listens');
  });
  after(async () => {
    child.kill();
    await once(child, 'exit');
    await node.stop();
  });

  async function answers(port: number): Promise<boolean> {
    const socket = connect({ port, host: '127.0.0.2' });
    socket.on('error', () => {});
    const isOpen = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    return isOpen;
  }

  /** mosquitto_pub from an address that the node sees only if it is told. */
  async function publish(kind: string, clientId: string, ...options: string[]): Promise<number | null> {
    const where = ['-h', '127.0.0.2', '-p', String(ports[kind]), '-A', '127.0.0.7'];
    const child = spawn('mosquitto_pub', [...where, '-i', clientId, '-t', 'a', '-m', 'b', '-q', '1', ...options]);
    return (await once(child, 'close'))[0];
  }

  for (const kind of ['v1', 'v2'] as const) {
    test(`${kind}: a client of mosquitto has its own address`, async () => {
      assert.equal(await publish(kind, `mosquitto-${kind}`), 0);
      assert.equal((await peerOf(node, `mosquitto-${kind}`)).address, '127.0.0.7');
    });
  }

  test('version 2 with TLS at the balancer: a client of mosquitto with and without a certificate connects', async () => {
    const device = authority.issue('device-7');
    const tls = ['--cafile', authority.certFile, '--insecure'];
    assert.equal(await publish('ssl', 'without', ...tls), 0);
    assert.equal(await publish('ssl', 'with', ...tls, '--cert', device.certFile, '--key', device.keyFile), 0);
    assert.equal((await peerOf(node, 'with')).address, '127.0.0.7');
  });

  test('WebSocket behind version 2', async () => {
    const socket = new WebSocket(`ws://127.0.0.2:${ports['ws']}/mqtt`, ['mqtt'], { localAddress: '127.0.0.7' });
    await once(socket, 'open');
    socket.send(mqttPacket.generate(connectPacket({ clientId: 'web' })));
    await once(socket, 'message');
    assert.equal((await peerOf(node, 'web')).address, '127.0.0.7');
    socket.terminate();
  });
});
