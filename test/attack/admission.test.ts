/** Who may connect, on real nodes: connections and rates of an address, the jail, users, and a node that is overloaded. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Authenticator } from '../../src/auth/authenticator.ts';
import { userNamed } from '../../src/auth/identity.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { startWiredNode } from '../support/wired-node.ts';

const MIB = 1024 * 1024;
/** As a packet of MQTT it would be longer than that. */
const garbage = Buffer.from('GET / HTTP/1.1\r\n\r\n');

/** Of one address. */
const PLACES = 20;

/** Whether a new network connection is closed without a word. */
async function isRefused(port: number): Promise<boolean> {
  const client = await RawClient.open(port);
  client.send(connectPacket({}));
  const answered = client.next('connack').then(
    () => true,
    () => false,
  );
  const isAnswered = await answered;
  client.socket.destroy();
  await client.closed;
  return !isAnswered;
}

async function limitReached(node: TestNode, limit: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${node.http}/metrics`)).text();
  const line = text
    .split('\n')
    .find((candidate) => candidate.startsWith(`supermq_limit_reached_total{limit="${limit}"}`));
  return Number(line?.split(' ')[1]);
}

/** A bad end of each kind. */
const badEnds: Readonly<Record<string, (port: number) => Promise<void>>> = {
  'garbage instead of CONNECT': async (port) => {
    const client = await RawClient.open(port);
    client.send(garbage);
    await client.closed;
  },
  'closed before CONNECT': async (port) => {
    const client = await RawClient.open(port);
    client.socket.end();
    await client.closed;
  },
  'a refused CONNECT': async (port) => {
    const client = await RawClient.connect(port, { clientId: 'x'.repeat(1_025) });
    await client.closed;
  },
  'a protocol error behind CONNACK': async (port) => {
    const client = await RawClient.connect(port);
    client.send(connectPacket({}));
    await client.closed;
  },
  'no CONNECT in time': async (port) => {
    const client = await RawClient.open(port);
    await client.closed;
  },
};

for (const [name, end] of Object.entries(badEnds)) {
  test(`jail - ${name}, three times: the address is refused, until its time is over`, async () => {
    const node = await startNode({
      SUPERMQ_LIMITS_JAIL_SECONDS: '1',
      SUPERMQ_LIMITS_JAIL_FAILURES: '3',
      SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '1',
    });
    const served = await RawClient.connect(node.tcp);
    await Promise.all([1, 2, 3].map(() => end(node.tcp)));
    await eventually(() => node.counters.addressesJailed === 1);
    assert.ok(await isRefused(node.tcp));
    assert.ok((await limitReached(node, 'jailSeconds')) >= 1);
    await served.ping();
    await eventually(async () => !(await isRefused(node.tcp)), 'the end of the jail');
    await node.stop();
  });
}

for (const [name, end] of Object.entries(badEnds))
  test(`jail - ${name} counts once`, async () => {
    const node = await startNode({
      SUPERMQ_LIMITS_JAIL_SECONDS: '60',
      SUPERMQ_LIMITS_JAIL_FAILURES: '3',
      SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '1',
    });
    for (let i = 0; i < 2; i++) await end(node.tcp);
    assert.equal(await isRefused(node.tcp), false);
    await node.stop();
  });

test('an address has all its places again when its connections have ended, in whatever way', async () => {
  const node = await startNode({
    SUPERMQ_LIMITS_MAX_CONNECTIONS_PER_ADDRESS: String(PLACES),
    SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '1',
  });
  for (let round = 0; round < 5; round++) {
    const ends = Object.values(badEnds).flatMap((end) => [end(node.tcp), end(node.tcp), end(node.tcp)]);
    await Promise.all(ends);
    // The server's side of a socket closes a moment after the client's.
    await eventually(async () => !(await isRefused(node.tcp)), 'a place');
  }
  const clients = await Promise.all(Array.from({ length: PLACES }, () => RawClient.connect(node.tcp)));
  assert.equal(await isRefused(node.tcp), true);
  for (const client of clients) client.socket.destroy();
  await node.stop();
});

test('jail - clients that behave are never in it, and neither is an exempt address', async () => {
  const env = { SUPERMQ_LIMITS_JAIL_SECONDS: '60', SUPERMQ_LIMITS_JAIL_FAILURES: '2' };
  const node = await startNode(env);
  for (let i = 0; i < 10; i++) {
    const client = await RawClient.connect(node.tcp);
    if (i % 2 === 0) await client.end();
    else await client.abort();
  }
  assert.equal(node.counters.addressesJailed, 0);
  const exempting = await startNode({ ...env, SUPERMQ_LIMITS_EXEMPT_ADDRESSES: '10.0.0.0/8, 127.0.0.1' });
  for (let i = 0; i < 5; i++) await badEnds['garbage instead of CONNECT']?.(exempting.tcp);
  assert.ok(!(await isRefused(exempting.tcp)));
  await Promise.all([node.stop(), exempting.stop()]);
});

test('jail - a client id that connects again and again is told 0x9F (3.x: 3), others at its address are served', async () => {
  const node = await startNode({ SUPERMQ_LIMITS_JAIL_SECONDS: '60', SUPERMQ_LIMITS_JAIL_RECONNECTS: '3' });
  const connected = (): Promise<Awaited<ReturnType<typeof RawClient.connect>>> =>
    RawClient.connect(node.tcp, { version: 5, clientId: 'flap' });
  for (let i = 0; i < 3; i++) await (await connected()).end();
  assert.equal((await connected()).connack.reasonCode, 0x9f);
  assert.equal((await RawClient.connect(node.tcp, { version: 4, clientId: 'flap' })).connack.returnCode, 3);
  assert.equal((await RawClient.connect(node.tcp, { version: 4, clientId: 'other' })).connack.returnCode, 0);
  assert.equal(await limitReached(node, 'jailReconnects'), 2);
  assert.equal(node.counters.clientsJailed, 1);
  await node.stop();
});

test('connections of one address - over all listeners together, and freed by each end', async () => {
  const node = await startNode({ SUPERMQ_LIMITS_MAX_CONNECTIONS_PER_ADDRESS: '2' });
  const first = await RawClient.connect(node.tcp);
  const second: Socket = connect({ port: node.ws, host: '127.0.0.1' });
  await eventually(async () => isRefused(node.tcp));
  assert.ok((await limitReached(node, 'maxConnectionsPerAddress')) >= 1);
  second.destroy();
  await eventually(async () => !(await isRefused(node.tcp)));
  await first.ping();
  await node.stop();
});

test('connect rate - of the node: beyond the burst connections are closed before anything is read', async () => {
  const node = await startNode({ SUPERMQ_LIMITS_CONNECTS_PER_SECOND: '1', SUPERMQ_LIMITS_CONNECT_BURST: '5' });
  const refused = await Promise.all(Array.from({ length: 20 }, () => isRefused(node.tcp)));
  const count = refused.filter(Boolean).length;
  assert.ok(count >= 10 && count <= 15, `${count} of 20 were refused`);
  assert.equal(await limitReached(node, 'connectsPerSecond'), count);
  assert.equal(node.counters.connectionsRefused, count);
  await eventually(async () => !(await isRefused(node.tcp)));
  await node.stop();
});

/** Believes every name. */
const credulous: Authenticator = {
  authenticate: (_client, { username = '' }) => ({ kind: 'accepted', identity: userNamed(username) }),
  begin: () => undefined,
};

test('connections of one user - 0x97 (3.x: 3) above the limit; anonymous clients, other users and takeovers have their place', async () => {
  const node = await startWiredNode({ authenticator: credulous, limits: { maxConnectionsPerUser: 2 } });
  const connectAs = (username: string, version: 4 | 5, clientId?: string): ReturnType<typeof RawClient.connect> =>
    RawClient.connect(node.tcp, {
      version,
      ...(username === '' ? {} : { username }),
      ...(clientId === undefined ? {} : { clientId }),
    });
  const first = await connectAs('ann', 5, 'a1');
  await connectAs('ann', 4, 'a2');
  assert.equal((await connectAs('ann', 5)).connack.reasonCode, 0x97);
  assert.equal((await connectAs('ann', 4)).connack.returnCode, 3);
  assert.equal((await connectAs('bob', 4)).connack.returnCode, 0);
  for (let i = 0; i < 4; i++) assert.equal((await connectAs('', 4)).connack.returnCode, 0);
  assert.equal((await connectAs('ann', 5, 'a1')).connack.reasonCode, 0, 'in its own place');
  await first.closed;
  assert.equal((await connectAs('ann', 5)).connack.reasonCode, 0x97);
  assert.equal(node.counters.limited.maxConnectionsPerUser, 3);
  await (await connectAs('ann', 5, 'a1')).end();
  assert.equal((await connectAs('ann', 5)).connack.reasonCode, 0);
  await node.stop();
});

test('overload - memory above the limit: new clients hear 0x89 (3.x: 3), the served ones notice nothing, and it ends', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void; // the only way to it without a flag on the command line
  collectGarbage();
  const limit = process.memoryUsage.rss() + 150 * MIB;
  const node = await startNode({ SUPERMQ_LIMITS_MAX_MEMORY_BYTES: String(limit) });
  const served = await RawClient.connect(node.tcp);
  await served.subscribe('calm');
  let ballast: Buffer | undefined = Buffer.alloc(300 * MIB, 1);
  const answerOf = async (version: 4 | 5): Promise<number | undefined> => {
    const { connack, socket } = await RawClient.connect(node.tcp, { version });
    socket.destroy();
    return version === 5 ? connack.reasonCode : connack.returnCode;
  };
  await eventually(async () => (await answerOf(5)) === 0x89, 'the overload');
  assert.equal(await answerOf(4), 3);
  served.publish('calm', 'still here');
  assert.equal((await served.messages(1))[0]?.payload, 'still here');
  assert.ok((await limitReached(node, 'maxMemoryBytes')) >= 2);
  assert.equal(ballast[0], 1);
  ballast = undefined;
  await eventually(async () => {
    collectGarbage();
    return (await answerOf(4)) === 0;
  }, 'the end of the overload');
  await node.stop();
});
