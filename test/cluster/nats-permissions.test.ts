/**
 * The accounts of deploy/nats on a real server: nodes with the edge's user do all that nodes do without one refusal, and neither that user
 * nor an application's may do what is not theirs.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect, type NatsConnection } from 'nats';
import { eventually } from '../support/eventually.ts';
import type { NatsServerProcess } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { PASSWORDS, runCommand, startPrivilegedNats } from '../support/privileged-nats.ts';
import { RawClient } from '../support/raw-client.ts';
import { SessionClient } from '../support/session-client.ts';

/** More than one look at the last messages of a stream takes: they are read by a consumer. */
const MANY_RETAINED = 1_100;
const LEASE_SECONDS = 5;

type User = keyof typeof PASSWORDS;

interface Place {
  readonly nats: NatsServerProcess;
  readonly prefix: string;
  readonly edges: EdgeProcess[];
  startEdge(name: string): Promise<EdgeProcess>;
  /** A NATS client with the user's permissions. */
  as(user: User): Promise<NatsConnection>;
}

function edgeEnvironment(nats: NatsServerProcess, topicPrefix: string): Record<string, string> {
  return {
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_USER: 'edge',
    SUPERMQ_NATS_PASSWORD: PASSWORDS.edge,
    SUPERMQ_NATS_TOPIC_PREFIX: topicPrefix,
    SUPERMQ_NATS_INBOX_PREFIX: '_INBOX_edge',
    SUPERMQ_NATS_PROVISION: 'check',
    SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS),
  };
}

function provisionEnvironment(nats: NatsServerProcess): Record<string, string> {
  return {
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_USER: 'provision',
    SUPERMQ_NATS_PASSWORD: PASSWORDS.provision,
    SUPERMQ_NATS_INBOX_PREFIX: '_INBOX_provision',
  };
}

async function open(file: string, topicPrefix: string): Promise<Place> {
  const nats = await startPrivilegedNats(file);
  const env = edgeEnvironment(nats, topicPrefix);
  const startEdge = (name: string): Promise<EdgeProcess> => EdgeProcess.start({ ...env, SUPERMQ_NODE_ID: name });
  const as = (user: User): Promise<NatsConnection> =>
    connect({
      servers: nats.url,
      user,
      pass: PASSWORDS[user],
      ...(user === 'edge' ? { inboxPrefix: '_INBOX_edge' } : {}),
    });
  return { nats, prefix: topicPrefix === '' ? '' : `${topicPrefix}.`, edges: [], startEdge, as };
}

async function close({ edges, nats }: Place): Promise<void> {
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
}

/** What the server has refused so far. */
function refusals({ nats }: Place): string[] {
  return nats
    .log()
    .split('\n')
    .filter((line) => /violation/i.test(line));
}

for (const [file, topicPrefix] of [
  ['accounts.conf', 'mqtt'],
  ['accounts-without-prefix.conf', ''],
] as const) {
  describe(`NATS permissions - ${file}`, { timeout: 180_000 }, () => {
    test('nodes need streams that another user makes, then do all that nodes do, and nothing is refused', async (t) => {
      const place = await open(file, topicPrefix);
      t.after(() => close(place));
      const refused = await runCommand([], edgeEnvironment(place.nats, topicPrefix));
      assert.equal(refused.code, 1);
      assert.match(refused.output, /SMQ_LOG, SMQ_RETAINED, .* are missing in JetStream, and nats\.provision is check/);
      const made = await runCommand(['provision'], provisionEnvironment(place.nats));
      assert.equal(made.code, 0, made.output);
      place.edges.push(await place.startEdge('edge-a'), await place.startEdge('edge-b'));
      const [a, b] = place.edges;
      assert.ok(a !== undefined && b !== undefined);
      // While such a filter stands, the server compares all messages for the node with what is denied to it: those of consumers too.
      for (const { tcp } of [a, b]) assert.deepEqual(await (await RawClient.connect(tcp)).subscribe('+/+/+/+'), [0]);
      for (const step of [messages, groups, retained, sessions, wills]) await step(place, a, b);
      await deadNode(place, a, b);
      assert.deepEqual(refusals(place), []);
      for (const edge of place.edges) {
        assert.equal(await edge.metric('supermq_bus_refused_total'), 0);
      }
      await strangers(place);
    });
  });
}

async function messages(_: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const subscriber = await RawClient.connect(b.tcp, { version: 5 });
  subscriber.acknowledges = true;
  assert.deepEqual(
    await subscriber.subscribe({ topic: 't/#', qos: 2 }, { topic: '+/x', qos: 0 }, { topic: '#', qos: 1 }),
    [2, 0, 1],
  );
  assert.deepEqual(await subscriber.subscribe('$SYS/#'), [0]);
  const publisher = await RawClient.connect(a.tcp, { version: 5 });
  publisher.publish('t/x', '0');
  assert.equal(await publisher.publishAcknowledged('t/a.b c', '1', 1), 0);
  assert.equal(await publisher.publishAcknowledged('t/>*', '2', 2), 0);
  const got = await subscriber.messages(3);
  assert.deepEqual(got.map(({ payload }) => payload).toSorted(), ['0', '1', '2']);
  await publisher.end();
  await subscriber.end();
}

async function groups(_: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const members = [await RawClient.connect(a.tcp, { version: 5 }), await RawClient.connect(b.tcp, { version: 5 })];
  for (const member of members) {
    member.acknowledges = true;
    assert.deepEqual(await member.subscribe({ topic: '$share/workers/jobs/#', qos: 2 }), [2]);
  }
  for (let i = 0; i < 20; i++)
    assert.equal(await members[0]?.publishAcknowledged('jobs/x', String(i), i % 2 === 0 ? 1 : 2), 0);
  members[0]?.publish('jobs/x', 'zero');
  let count = 0;
  await eventually(() => {
    for (const member of members) count += member.taken('publish').length;
    return count === 21;
  }, 'every job');
  for (const member of members) await member.end();
}

async function retained({ as, prefix }: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const device = await RawClient.connect(a.tcp, { version: 5 });
  assert.equal(await device.publishAcknowledged('state/1', 'on', 1, { retain: true }), 0);
  const application = await as('application');
  for (let i = 0; i < MANY_RETAINED; i++) application.publish(`$SMQ.retained.${prefix}many.${i}`, 'x');
  await application.flush();
  await application.close();
  const reader = await RawClient.connect(b.tcp, { version: 5, properties: { receiveMaximum: 65_535 } });
  reader.acknowledges = true;
  await reader.subscribe({ topic: 'state/1', qos: 1 });
  assert.deepEqual(await reader.messages(1), [{ topic: 'state/1', payload: 'on' }]);
  await reader.subscribe({ topic: 'state/+', qos: 1 });
  assert.deepEqual(await reader.messages(1), [{ topic: 'state/1', payload: 'on' }]);
  await reader.subscribe({ topic: 'many/#', qos: 0 });
  assert.equal((await reader.messages(MANY_RETAINED)).length, MANY_RETAINED);
  assert.equal(await device.publishAcknowledged('state/1', '', 1, { retain: true }), 0);
  await device.end();
  await reader.end();
}

async function sessions(_: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const device = await SessionClient.connect(a.tcp, 'roaming');
  await device.subscribe('orders/#', 2);
  await device.leave();
  const publisher = await RawClient.connect(b.tcp, { version: 5 });
  await publisher.publishAll('orders/x', [1, 2, 3], 2);
  await device.connect(b.tcp);
  assert.equal(device.sessionPresent, true);
  await device.waitFor(3);
  const taken = await RawClient.connect(b.tcp, { version: 5, clientId: 'two-places' });
  const other = await RawClient.connect(a.tcp, { version: 5, clientId: 'two-places' });
  assert.equal(await taken.closingReason(), 0x8e);
  await other.end();
  await device.forget();
  await publisher.end();
}

async function wills(_: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const watcher = await RawClient.connect(b.tcp, { version: 5 });
  watcher.acknowledges = true;
  await watcher.subscribe({ topic: 'wills/#', qos: 1 });
  const at = async (name: string, willDelayInterval: number): Promise<void> => {
    const client = await RawClient.connect(a.tcp, {
      version: 5,
      clientId: name,
      properties: { sessionExpiryInterval: 60 },
      will: {
        topic: `wills/${name}`,
        payload: Buffer.from(name),
        qos: 1,
        retain: false,
        properties: { willDelayInterval },
      },
    });
    await client.abort();
    assert.deepEqual(await watcher.messages(1), [{ topic: `wills/${name}`, payload: name }]);
  };
  await at('prompt', 0);
  await at('delayed', 1);
  await watcher.end();
}

/** A node is killed, another one publishes its will; it starts again under its name. */
async function deadNode({ edges, startEdge }: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const watcher = await RawClient.connect(b.tcp, { version: 5 });
  watcher.acknowledges = true;
  await watcher.subscribe({ topic: 'wills/#', qos: 1 });
  const will = { topic: 'wills/node', payload: Buffer.from('gone'), qos: 1 as const, retain: false };
  await RawClient.connect(a.tcp, { version: 5, clientId: 'of-the-dead', will });
  await a.kill();
  const arrived = (): boolean =>
    watcher.received.some((packet) => packet.cmd === 'publish' && packet.topic === 'wills/node');
  await poll(async () => arrived(), { what: 'the will of a killed node', timeoutMs: 30_000 });
  edges[0] = await startEdge('edge-a');
  await watcher.end();
}

/** What each user may not do is refused by the server, not only left undone by us. */
async function strangers({ as, nats, prefix }: Place): Promise<void> {
  const before = nats.log().length;
  const edge = await as('edge');
  const refusedTo = async (connection: NatsConnection, subject: string): Promise<void> => {
    await assert.rejects(
      connection.request(subject, '', { timeout: 5_000 }),
      /Permissions Violation|PERMISSIONS_VIOLATION/i,
      subject,
    );
  };
  for (const call of [
    'STREAM.DELETE.SMQ_LOG',
    'STREAM.PURGE.KV_SMQ_SESSIONS',
    'STREAM.CREATE.OTHER',
    'STREAM.UPDATE.SMQ_LOG',
    'CONSUMER.DELETE.SMQ_LOG.x',
    'STREAM.NAMES',
  ])
    await refusedTo(edge, `$JS.API.${call}`);
  await refusedTo(edge, '_INBOX.somebody');
  const application = await as('application');
  for (const subject of [
    '$JS.API.STREAM.MSG.GET.KV_SMQ_SESSIONS',
    '$KV.SMQ_SESSIONS.x',
    '$SMQ.client.x',
    `$SMQ.live.${prefix}a`,
    '_INBOX_edge.x',
  ])
    await refusedTo(application, subject);
  for (const subject of ['_INBOX_edge.>', '$KV.>', '$SMQ.client.*']) {
    const failed = new Promise<unknown>((resolve) => {
      application.subscribe(subject, { callback: (error) => resolve(error) });
    });
    assert.match(String(await failed), /permission/i, subject);
  }
  assert.ok(nats.log().slice(before).includes('Violation'), 'the test sees refusals in the log of the server');
  await edge.close();
  await application.close();
}
