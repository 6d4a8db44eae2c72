/** A client id belongs to the user that has it, connected or with a stored session, on whatever node another user asks for it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import mqttPacket from 'mqtt-packet';
import { deriveCredentials, formatUserLine } from '../../src/auth/scram-credentials.ts';
import type { Cluster } from '../../src/broker/ports.ts';
import { EmbeddedCluster } from '../../src/embedded/cluster.ts';
import { openBackplane } from '../support/backplane.ts';
import { claimAt } from '../support/claim-at.ts';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { type ConnectFields, connectPacket, RawClient } from '../support/raw-client.ts';
import { METHOD, ScramClient } from '../support/scram-client.ts';
import { packet, property, props } from '../unit/mqtt/bytes.ts';

const NOT_AUTHORIZED = 0x87;
const folder = mkdtempSync(join(tmpdir(), 'supermq-owners-'));
let nats: NatsServerProcess;
let edges: EdgeProcess[];

before(async () => {
  const file = join(folder, 'users');
  const line = (name: string): string =>
    `${formatUserLine(name, deriveCredentials(name, Buffer.from(`salt of ${name}`), 4096))}\n`;
  writeFileSync(file, line('ann') + line('ben'));
  nats = await startNatsServer();
  const env = { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_AUTH_SCRAM_FILE: file };
  edges = await Promise.all([EdgeProcess.start(env), EdgeProcess.start(env)]);
});
after(async () => {
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
  rmSync(folder, { recursive: true });
});

/** What CONNACK says to a user (the name is the password) or, without one, to anybody. */
async function enter(
  index: number,
  user: string | undefined,
  fields: ConnectFields,
): Promise<{ readonly client: RawClient; readonly code: number; readonly isPresent: boolean }> {
  const client = await RawClient.open(edges[index]?.tcp ?? 0, 5);
  const scram = new ScramClient(user ?? '', user ?? '');
  const method = user === undefined ? {} : { authenticationMethod: METHOD, authenticationData: scram.first };
  const connect = connectPacket({ version: 5, ...fields, properties: { ...fields.properties, ...method } });
  client.send(mqttPacket.generate(connect, { protocolVersion: 5 }));
  if (user !== undefined) {
    const { properties } = await client.next('auth');
    const final = scram.final(properties?.authenticationData ?? Buffer.alloc(0));
    client.send(packet(0xf0, 0x18, props(property.authenticationMethod(METHOD), property.authenticationData(final))));
  }
  const { reasonCode = 0, sessionPresent } = await client.next('connack');
  return { client, code: reasonCode, isPresent: sessionPresent };
}

const kept = { clean: false, properties: { sessionExpiryInterval: 600 } };

test('another user is refused, on the same node and on another one, and the client that is there stays', async () => {
  const ann = await enter(0, 'ann', { clientId: 'meter' });
  for (const index of [0, 1])
    for (const user of ['ben', undefined]) {
      const other = await enter(index, user, { clientId: 'meter' });
      assert.equal(other.code, NOT_AUTHORIZED, `${user} on node ${index}`);
      await other.client.closed;
      await ann.client.ping();
    }
  const again = await enter(1, 'ann', { clientId: 'meter' });
  assert.equal(again.code, 0);
  await ann.client.closed;
  await again.client.end();
});

test('a stored session is not given to another user, nor ended by one, and is there for its own', async () => {
  const ann = await enter(0, 'ann', { clientId: 'stored', ...kept });
  await ann.client.subscribe({ topic: 'owners/stored', qos: 1 });
  await ann.client.end();
  for (const clean of [false, true]) {
    const other = await enter(1, 'ben', { clientId: 'stored', ...kept, clean });
    assert.equal(other.code, NOT_AUTHORIZED);
    await other.client.closed;
  }
  const back = await enter(1, 'ann', { clientId: 'stored', ...kept });
  assert.deepEqual([back.code, back.isPresent], [0, true]);
  await back.client.end();
});

test('who asks again and again for the stored session of another user never keeps its owner out', {
  timeout: 60_000,
}, async () => {
  const clientId = 'besieged';
  await (await enter(0, 'ann', { clientId, ...kept })).client.end();
  let isOver = false;
  let attempts = 0;
  const hammer = async (index: number): Promise<void> => {
    while (!isOver) {
      const other = await enter(index, 'ben', { clientId, ...kept });
      assert.equal(other.code, NOT_AUTHORIZED);
      attempts++;
    }
  };
  const hammers = [0, 1, 0, 1, 0, 1].map(hammer);
  for (let visit = 0; visit < 100; visit++) {
    const ann = await enter(visit % 2, 'ann', { clientId, ...kept });
    assert.deepEqual([ann.code, ann.isPresent], [0, true], `visit ${visit}`);
    await ann.client.end();
  }
  isOver = true;
  await Promise.all(hammers);
  assert.ok(attempts > 100, `${attempts} attempts`);
});

test('what has no user is anybody’s, and the user that takes it keeps it', async () => {
  const nobody = await enter(0, undefined, { clientId: 'found', ...kept });
  assert.equal(nobody.code, 0);
  const ann = await enter(1, 'ann', { clientId: 'found', ...kept });
  assert.deepEqual([ann.code, ann.isPresent], [0, true]);
  await nobody.client.closed;
  await ann.client.end();
  const late = await enter(0, undefined, { clientId: 'found', ...kept });
  assert.equal(late.code, NOT_AUTHORIZED);
  await late.client.closed;
});

test('who got a client id because the node that has it was frozen gives it back', { timeout: 30_000 }, async () => {
  const ann = await enter(0, 'ann', { clientId: 'frozen' });
  const pid = edges[0]?.pid ?? 0;
  freeze(pid);
  const ben = await enter(1, 'ben', { clientId: 'frozen' }).finally(() => process.kill(pid, 'SIGCONT'));
  assert.equal(ben.code, 0);
  await ben.client.closed;
  await ann.client.ping();
  await ann.client.end();
});

test('with auth.clientIdsBelongToUsers off the last one has it', async () => {
  const edge = await EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_AUTH_SCRAM_FILE: join(folder, 'users'),
    SUPERMQ_AUTH_CLIENT_IDS_BELONG_TO_USERS: 'false',
  });
  edges.push(edge);
  const ann = await enter(2, 'ann', { clientId: 'shared' });
  const ben = await enter(2, 'ben', { clientId: 'shared' });
  assert.equal(ben.code, 0);
  await ann.client.closed;
  await ben.client.end();
  const before = await enter(0, 'ann', { clientId: 'from before', ...kept });
  await before.client.end();
  let after = await enter(2, 'ben', { clientId: 'from before', ...kept });
  // The other node has the rule: until it has written the session the client is still ann's there.
  await eventually(async () => {
    if (after.code !== 0) after = await enter(2, 'ben', { clientId: 'from before', ...kept });
    return after.code === 0;
  });
  assert.equal(after.isPresent, true, 'a session that was stored when the rule was on');
  await after.client.end();
});

test('claims of two users that cross each other leave one at most, and the one that had the client keeps it', async () => {
  const [first, second] = await Promise.all([openBackplane(nats.url), openBackplane(nats.url)]);
  const none = async (): Promise<void> => {};
  const claim = ({ cluster }: { cluster: Cluster }, user: string, yielded = none) =>
    claimAt(cluster, { clientId: 'crossing', user, yielded });
  for (let round = 0; round < 100; round++) {
    const alive = new Set<string>();
    const enterAs = async (node: { cluster: Cluster }, user: string): Promise<() => void> => {
      alive.add(user);
      const claimed = await claim(node, user, async () => void alive.delete(user));
      if (claimed === undefined) alive.delete(user);
      return () => claimed?.claim.release();
    };
    const releases = await Promise.all([enterAs(first, 'ann'), enterAs(second, 'ben')]);
    assert.ok(alive.size <= 1, `round ${round}: ${[...alive]}`);
    const holder = [...alive][0];
    if (holder !== undefined) {
      const stranger = holder === 'ann' ? 'ben' : 'ann';
      for (const node of [first, second]) assert.equal(await claim(node, stranger), undefined);
      assert.equal(alive.size, 1);
    }
    for (const release of releases) release();
  }
  await Promise.all([first.close(), second.close()]);
});

test('a node alone keeps to the same rule', async () => {
  const cluster = new EmbeddedCluster();
  const claim = (user: string) => claimAt(cluster, { clientId: 'a', user });
  assert.ok(await claim(''));
  assert.ok(await claim('ann'));
  assert.equal(await claim('ben'), undefined);
  assert.equal(await claim(''), undefined);
  assert.ok(await claim('ann'));
});
