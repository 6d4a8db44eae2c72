/** TLS listeners: versions, ALPN, client certificates and their revocation, and certificates that change while the node runs. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import mqttPacket from 'mqtt-packet';
import { WebSocket } from 'ws';
import { systemClock } from '../../src/clock.ts';
import { makeLog } from '../../src/log.ts';
import { Authority, type KeyPair } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess, startNode, type TestNode } from '../support/node.ts';
import { freePort } from '../support/ports.ts';
import { connectPacket } from '../support/raw-client.ts';

const authority = new Authority();
const stranger = new Authority('Another authority');
const server = authority.issue('server', 'IP:127.0.0.1,DNS:localhost');
after(() => {
  for (const { remove } of [authority, stranger].map((one) => ({ remove: () => one.remove() }))) remove();
});

const connectBytes = mqttPacket.generate(connectPacket({ clientId: 'tls' }));

/** A node with TLS listeners. */
async function startTlsNode(env: Record<string, string> = {}, log = makeLog('silent', 'tls')): Promise<TestNode> {
  const complete = {
    SUPERMQ_MQTT_TLS_PORT: String(await freePort()),
    SUPERMQ_MQTT_WSS_PORT: String(await freePort()),
    SUPERMQ_TLS_CERT: server.certFile,
    SUPERMQ_TLS_KEY: server.keyFile,
    ...env,
  };
  return startNode(complete, systemClock, log);
}

function shown({ cert, key }: KeyPair): ConnectionOptions {
  return { cert, key };
}

type Ported = Pick<TestNode, 'ports'>;

/** What CONNECT over TLS gets: `accepted`, the message of an error, or `closed`. */
async function attempt(node: Ported, options: ConnectionOptions = {}): Promise<string> {
  const socket = connect({ port: node.ports['tls'] ?? 0, host: '127.0.0.1', ca: authority.cert, ...options });
  return outcome(socket);
}

async function outcome(socket: TLSSocket): Promise<string> {
  let code = 'closed';
  socket.on('error', (error) => {
    code = error.message;
  });
  socket.on('data', () => {
    code = 'accepted';
    socket.destroy();
  });
  socket.write(connectBytes);
  await new Promise((resolve) => socket.once('close', resolve));
  return code;
}

describe('tls', () => {
  let node: TestNode;
  before(async () => {
    node = await startTlsNode();
  });
  after(() => node.stop());

  test('TLS 1.2 and 1.3 connect by default, older versions do not', async () => {
    assert.equal(await attempt(node, { maxVersion: 'TLSv1.2' }), 'accepted');
    assert.equal(await attempt(node, { minVersion: 'TLSv1.3' }), 'accepted');
    // Seclevel 0: else the client itself would refuse.
    const old = { minVersion: 'TLSv1' as const, maxVersion: 'TLSv1.1' as const, ciphers: 'DEFAULT@SECLEVEL=0' };
    assert.match(await attempt(node, old), /alert protocol version/);
  });

  test('a client that offers mqtt, or nothing, in ALPN connects; one that offers other protocols is refused in the handshake', async () => {
    const socket = connect({
      port: node.ports['tls'] ?? 0,
      host: '127.0.0.1',
      ca: authority.cert,
      ALPNProtocols: ['x', 'mqtt'],
    });
    await once(socket, 'secureConnect');
    assert.equal(socket.alpnProtocol, 'mqtt');
    assert.equal(await outcome(socket), 'accepted');
    assert.equal(await attempt(node), 'accepted');
    const failed = node.counters.arrivalsFailed.tls;
    assert.match(await attempt(node, { ALPNProtocols: ['h2', 'http/1.1'] }), /alert no application protocol/);
    await eventually(() => node.counters.arrivalsFailed.tls === failed + 1, 'the refusal is counted');
  });

  test('a client of TLS 1.2 cannot have the handshake again', { timeout: 30_000 }, async () => {
    const options = { ca: authority.cert, maxVersion: 'TLSv1.2' } as const;
    const socket = connect({ port: node.ports['tls'] ?? 0, host: '127.0.0.1', ...options });
    await once(socket, 'secureConnect');
    const ended = new Promise((resolve) => socket.once('error', resolve));
    socket.renegotiate({}, () => {});
    assert.match(String(await ended), /no renegotiation/i);
  });

  test('MQTT over WebSocket with TLS', async () => {
    const socket = new WebSocket(`wss://127.0.0.1:${node.ports['wss']}/mqtt`, ['mqtt'], { ca: authority.cert });
    await once(socket, 'open');
    socket.send(connectBytes);
    assert.equal((await once(socket, 'message'))[0][0], 0x20);
    socket.terminate();
  });

  const isInstalled = spawnSync('mosquitto_pub', ['--help']).error === undefined;
  const skip = isInstalled ? false : 'mosquitto_pub is not installed';
  test('mosquitto_pub connects with TLS', { skip }, async () => {
    const args = [
      '-h',
      '127.0.0.1',
      '-p',
      String(node.ports['tls']),
      '--cafile',
      authority.certFile,
      '-t',
      'a',
      '-m',
      'b',
    ];
    const child = spawn('mosquitto_pub', [...args, '-q', '1'], { stdio: 'inherit' });
    assert.equal((await once(child, 'close'))[0], 0);
  });

  test('what is no TLS at all ends that connection only, and is counted', async () => {
    const failed = node.counters.arrivalsFailed.tls;
    await assert.rejects(fetch(`http://127.0.0.1:${node.ports['tls']}/`));
    await eventually(() => node.counters.arrivalsFailed.tls === failed + 1, 'the garbage is counted');
    assert.equal(await attempt(node), 'accepted');
  });
});

test('tls - with tls.minVersion TLSv1.3 a client of TLS 1.2 is refused', async () => {
  const node = await startTlsNode({ SUPERMQ_TLS_MIN_VERSION: 'TLSv1.3' });
  assert.equal(await attempt(node, { minVersion: 'TLSv1.3' }), 'accepted');
  assert.match(await attempt(node, { maxVersion: 'TLSv1.2' }), /alert protocol version/);
  await node.stop();
});

describe('client certificates', () => {
  const device = authority.issue('device-1', 'DNS:device-1.example.com,URI:urn:device:1,email:one@example.com');
  const lost = authority.issue('device-2');
  const forged = stranger.issue('device-1');
  const names = { SUPERMQ_TLS_CA: authority.certFile };

  test('required, the default: only a client with a certificate of the authority connects', async () => {
    const node = await startTlsNode(names);
    assert.equal(await attempt(node, shown(device)), 'accepted');
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const failed = node.counters.arrivalsFailed.tls;
      assert.notEqual(await attempt(node, { maxVersion }), 'accepted');
      assert.notEqual(await attempt(node, { ...shown(forged), maxVersion }), 'accepted');
      await eventually(() => node.counters.arrivalsFailed.tls === failed + 2, 'both refusals are counted');
    }
    const { socket } = await openWebSocket(node, shown(device));
    assert.equal((await once(socket, 'message'))[0][0], 0x20);
    socket.terminate();
    await assert.rejects(openWebSocket(node, shown(forged)));
    await node.stop();
  });

  test('optional: without a certificate a client connects, with a bad one it does not', async () => {
    const node = await startTlsNode({ ...names, SUPERMQ_TLS_CLIENT_CERTIFICATE: 'optional' });
    assert.equal(await attempt(node), 'accepted');
    assert.equal(await attempt(node, shown(device)), 'accepted');
    assert.notEqual(await attempt(node, shown(forged)), 'accepted');
    await node.stop();
  });

  test('a certificate that is revoked while the node runs is refused from then on, also in a resumed TLS session', async () => {
    const crl = authority.revoke();
    const node = await startTlsNode({ ...names, SUPERMQ_TLS_CRL: crl });
    const session = await sessionOf(node, shown(lost));
    assert.equal(await attempt(node, { ...shown(lost), session }), 'accepted');
    authority.revoke(lost);
    await eventually(async () => (await attempt(node, shown(lost))) !== 'accepted', 'the revocation is in use');
    assert.notEqual(await attempt(node, { ...shown(lost), session }), 'accepted');
    assert.equal(await attempt(node, shown(device)), 'accepted');
    await node.stop();
  });
});

describe('authorities and revocations of several', () => {
  test('each authority has its own list in one file, and all of them count', async () => {
    const [lost, kept] = [stranger.issue('lost'), stranger.issue('kept')];
    const [ca, crl] = [join(authority.folder, 'both.pem'), join(authority.folder, 'both.crl')];
    writeFileSync(ca, authority.cert + stranger.cert);
    const lists = [authority.revoke(), stranger.revoke(lost)].map((list) => readFileSync(list, 'utf8'));
    writeFileSync(crl, lists.join(''));
    const node = await startTlsNode({ SUPERMQ_TLS_CA: ca, SUPERMQ_TLS_CRL: crl });
    assert.equal(await attempt(node, shown(kept)), 'accepted');
    assert.equal(await attempt(node, shown(authority.issue('ours'))), 'accepted');
    assert.notEqual(await attempt(node, shown(lost)), 'accepted');
    await node.stop();
  });

  test('a file without any, or with half of one, is never taken for fewer rules', async () => {
    const empty = join(authority.folder, 'empty.pem');
    writeFileSync(empty, '');
    const half = join(authority.folder, 'half.pem');
    writeFileSync(half, authority.cert + stranger.cert.slice(0, 200));
    for (const file of [empty, half]) {
      await assert.rejects(startTlsNode({ SUPERMQ_TLS_CA: file }), /tls\.ca is empty or incomplete/);
      const env = { SUPERMQ_TLS_CA: authority.certFile, SUPERMQ_TLS_CRL: file };
      await assert.rejects(startTlsNode(env), /tls\.crl is empty or incomplete/);
    }
  });
});

async function openWebSocket(node: TestNode, options: ConnectionOptions): Promise<{ socket: WebSocket }> {
  const socket = new WebSocket(`wss://127.0.0.1:${node.ports['wss']}/mqtt`, ['mqtt'], {
    ca: authority.cert,
    ...options,
  });
  await once(socket, 'open');
  socket.send(connectBytes);
  return { socket };
}

/** A session of TLS 1.2 that can be resumed. */
async function sessionOf(node: TestNode, options: ConnectionOptions): Promise<Buffer> {
  const where = { port: node.ports['tls'] ?? 0, host: '127.0.0.1', ca: authority.cert };
  const socket = connect({ ...where, ...options, maxVersion: 'TLSv1.2' });
  const [session] = await once(socket, 'session');
  socket.destroy();
  return session;
}

describe('certificates that change', () => {
  const file = (name: string): string => join(authority.folder, name);

  test('new connections get the new certificate, on TLS and WSS; open ones stay; a pair that does not fit keeps the old one', async () => {
    const [first, second, third] = [server, authority.issue('second'), authority.issue('third')];
    const [cert, key] = [file('live.pem'), file('live.key')];
    const lines: string[] = [];
    const log = makeLog('info', 'tls', { write: (line) => void lines.push(line) });
    copyFileSync(first.certFile, cert);
    copyFileSync(first.keyFile, key);
    const node = await startTlsNode({ SUPERMQ_TLS_CERT: cert, SUPERMQ_TLS_KEY: key }, log);
    const open = connect({ port: node.ports['tls'] ?? 0, host: '127.0.0.1', ca: authority.cert });
    await once(open, 'secureConnect');
    writeFileSync(cert, second.cert);
    await eventually(() => lines.join('').includes('tls.refused'), 'the log says that the pair does not fit');
    assert.equal(await nameOf(node, 'tls'), 'server');
    writeFileSync(key, second.key);
    await eventually(async () => (await nameOf(node, 'tls')) === 'second', 'the new certificate is in use');
    assert.equal(await nameOf(node, 'wss'), 'second');
    // Both within the time that a pair may take.
    writeFileSync(key, third.key);
    writeFileSync(cert, third.cert);
    await eventually(async () => (await nameOf(node, 'tls')) === 'third', 'the next certificate is in use');
    assert.equal(lines.join('').match(/tls\.refused/g)?.length, 1);
    assert.equal(await outcome(open), 'accepted');
    await node.stop();
  });

  test('workers share the TLS listeners, and each of them takes the new certificate', async () => {
    const next = authority.issue('of workers');
    const [cert, key] = [file('workers.pem'), file('workers.key')];
    copyFileSync(server.certFile, cert);
    copyFileSync(server.keyFile, key);
    const nats = await startNatsServer();
    const ports = { tls: await freePort(), wss: await freePort() };
    const edge = await EdgeProcess.start({
      SUPERMQ_NATS_SERVERS: nats.url,
      SUPERMQ_WORKERS: '2',
      SUPERMQ_MQTT_TLS_PORT: String(ports.tls),
      SUPERMQ_MQTT_WSS_PORT: String(ports.wss),
      SUPERMQ_TLS_CERT: cert,
      SUPERMQ_TLS_KEY: key,
    });
    const all = async (name: string): Promise<boolean> => {
      const seen = [];
      for (const listener of ['tls', 'tls', 'wss', 'wss'] as const) seen.push(await nameOf({ ports }, listener));
      return seen.every((one) => one === name);
    };
    assert.ok(await all('server'));
    writeFileSync(cert, next.cert);
    writeFileSync(key, next.key);
    await eventually(() => all('of workers'), 'both workers have the new certificate');
    for (let n = 0; n < 4; n++) assert.equal(await attempt({ ports }), 'accepted');
    await edge.stop();
    await nats.stop();
  });

  test('a start with a key of another certificate stops with a sentence', async () => {
    const other = authority.issue('other');
    await assert.rejects(
      startTlsNode({ SUPERMQ_TLS_KEY: other.keyFile }),
      /tls\.cert, tls\.key cannot be used for TLS/,
    );
  });
});

/** Common name of the certificate that a new connection sees. */
async function nameOf(node: Ported, listener: 'tls' | 'wss'): Promise<unknown> {
  const socket = connect({ port: node.ports[listener] ?? 0, host: '127.0.0.1', ca: authority.cert });
  await once(socket, 'secureConnect');
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return CN;
}
