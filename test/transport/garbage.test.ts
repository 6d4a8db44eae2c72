/** Peers that send anything, and go in any way, on every listener: only their own connection ends, and nothing of it stays. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { Authority } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { freePort } from '../support/ports.ts';
import { binaryHeaderOf, sslTlv } from '../support/proxy-header.ts';
import { Random } from '../support/random.ts';
import { RawClient } from '../support/raw-client.ts';
import { reset } from '../support/reset.ts';
import { upgradeRequest } from '../support/upgrade-request.ts';

const PEERS = 400;
const AT_ONCE = 20;

const authority = new Authority();
const nodes: TestNode[] = [];

before(async () => {
  const { certFile, keyFile } = authority.issue('server');
  for (const trusted of ['', '127.0.0.1']) {
    const env = {
      SUPERMQ_MQTT_TLS_PORT: String(await freePort()),
      SUPERMQ_MQTT_WSS_PORT: String(await freePort()),
      SUPERMQ_TLS_CERT: certFile,
      SUPERMQ_TLS_KEY: keyFile,
      SUPERMQ_TLS_CA: authority.certFile,
      SUPERMQ_MQTT_PROXY_PROTOCOL_TRUSTED: trusted,
    };
    nodes.push(await startNode(env));
  }
});
after(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  authority.remove();
});

/** What each part of the way may take for its own, at least in the beginning. */
const pieces: readonly Buffer[] = [
  Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 55556 1883\r\n'),
  Buffer.from('PROXY UNKNOWN\r\n'),
  binaryHeaderOf('192.0.2.1', 5_000),
  binaryHeaderOf('192.0.2.1', 5_000, sslTlv({ name: 'told' })),
  Buffer.from('16030100c8010000c40303', 'hex'),
  Buffer.from('1503030002020a', 'hex'),
  upgradeRequest,
  Buffer.from('POST /mqtt HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nffffffff\r\n'),
  Buffer.from('82fe0100', 'hex'),
  Buffer.from('100c00044d51545404020000', 'hex'),
];

/** Some pieces, some of them damaged, and noise. */
function stream(random: Random): Buffer {
  const parts: Buffer[] = [];
  for (let n = random.below(4); n >= 0; n--) {
    const piece = Buffer.from(random.chance(0.7) ? random.pick(pieces) : random.bytes(random.below(200)));
    if (random.chance(0.3)) piece[random.below(piece.length)] = random.below(256);
    parts.push(random.chance(0.2) ? piece.subarray(0, random.below(piece.length)) : piece);
  }
  return Buffer.concat(parts);
}

/** One connection: everything in up to three writes, then gone in some way. */
async function misbehave(port: number, random: Random): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: random.chance(0.5) });
  socket.on('error', () => {});
  socket.resume();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await once(socket, 'connect');
  const bytes = stream(random);
  for (let at = 0; at < bytes.length && !socket.destroyed; ) {
    const end = random.chance(0.3) ? bytes.length : at + 1 + random.below(bytes.length - at);
    if (socket.writable) await new Promise((resolve) => socket.write(bytes.subarray(at, end), resolve));
    at = end;
  }
  if (random.chance(0.4)) reset(socket);
  else if (random.chance(0.5)) socket.end();
  else socket.destroy();
  setTimeout(() => socket.destroy(), 200);
  await closed;
}

for (const [index, title] of ['ordinary', 'behind a balancer'].entries()) {
  test(`${PEERS} peers that send garbage, ${title}: each ends alone, all are counted, and clients are served on`, async () => {
    const node = nodes[index] ?? assert.fail();
    const ports = ['tcp', 'ws', 'tls', 'wss'].map((listener) => node.ports[listener] ?? 0);
    for (let first = 0; first < PEERS; first += AT_ONCE) {
      const peers = Array.from({ length: AT_ONCE }, (_, n) => new Random(20, first + n));
      await Promise.all(peers.map((random) => misbehave(random.pick(ports), random)));
    }
    const { arrivalsFailed, connectionsAccepted } = node.counters;
    const ended = (): number => Object.values(node.counters.arrivalsFailed).reduce((sum, count) => sum + count, 0);
    await eventually(
      () => ended() + node.counters.connectionsAccepted === PEERS,
      'all have ended or become connections',
    );
    for (const cause of ['tls', 'upgrade', 'left'] as const) assert.ok(arrivalsFailed[cause] > 0, cause);
    assert.ok(connectionsAccepted > 0);
    assert.equal(arrivalsFailed.proxyHeader > 0, title !== 'ordinary');
    assert.equal(node.counters.internalErrors, 0);
    await eventually(async () => (await openConnections(node)) === 0, 'nothing of them stays');
    if (title !== 'ordinary') return;
    const client = await RawClient.connect(node.tcp);
    await client.end();
  });
}

async function openConnections({ http }: TestNode): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${http}/metrics`)).text();
  return Number(/^supermq_connections_open (\d+)$/m.exec(text)?.[1]);
}
