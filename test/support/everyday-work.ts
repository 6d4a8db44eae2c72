/** All that nodes do, at a NATS where each user has only the permissions of a file of deploy/nats: for tests that then look for refusals. */
import assert from 'node:assert/strict';
import type { NatsConnection } from 'nats';
import { eventually } from './eventually.ts';
import type { EdgeProcess } from './node.ts';
import { poll } from './poll.ts';
import { PASSWORDS } from './privileged-nats.ts';
import { type ConnectFields, RawClient } from './raw-client.ts';
import { SessionClient } from './session-client.ts';

/** More than one look at the last messages of a stream takes: they are read by a consumer. */
const MANY_RETAINED = 1_100;

export type User = keyof typeof PASSWORDS;

export interface Place {
  /** Of subjects, with its dot. */
  readonly prefix: string;
  /** Two; a killed one gives its place to the next. */
  readonly edges: EdgeProcess[];
  /** In the place of the first one. */
  startEdge(name: string): Promise<EdgeProcess>;
  /** A NATS client with the user's permissions. */
  as(user: User): Promise<NatsConnection>;
}

export function edgeEnvironment(servers: string, topicPrefix: string): Record<string, string> {
  return {
    SUPERMQ_NATS_SERVERS: servers,
    SUPERMQ_NATS_USER: 'edge',
    SUPERMQ_NATS_PASSWORD: PASSWORDS.edge,
    SUPERMQ_NATS_TOPIC_PREFIX: topicPrefix,
    SUPERMQ_NATS_INBOX_PREFIX: '_INBOX_edge',
    SUPERMQ_NATS_PROVISION: 'check',
  };
}

export function provisionEnvironment(servers: string): Record<string, string> {
  return {
    SUPERMQ_NATS_SERVERS: servers,
    SUPERMQ_NATS_USER: 'provision',
    SUPERMQ_NATS_PASSWORD: PASSWORDS.provision,
    SUPERMQ_NATS_INBOX_PREFIX: '_INBOX_provision',
  };
}

/** Lines of a server's log about what it has refused. */
export function violations(log: string): string[] {
  return log.split('\n').filter((line) => /violation/i.test(line));
}

/** QoS 0, 1 and 2, groups, retained messages, sessions, takeover and wills, between both nodes. */
export async function doEverydayWork(place: Place): Promise<void> {
  const [a, b] = place.edges;
  assert.ok(a !== undefined && b !== undefined);
  for (const step of [messages, groups, retained, sessions, wills]) await step(place, a, b);
}

/** A client whose CONNECT the node has accepted. */
async function admitted(port: number, fields: ConnectFields = {}): Promise<RawClient> {
  const client = await RawClient.connect(port, { version: 5, ...fields });
  assert.equal(client.connack.reasonCode, 0);
  return client;
}

async function messages(_: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const subscriber = await admitted(b.tcp);
  subscriber.acknowledges = true;
  assert.deepEqual(
    await subscriber.subscribe({ topic: 't/#', qos: 2 }, { topic: '+/x', qos: 0 }, { topic: '#', qos: 1, rh: 2 }),
    [2, 0, 1],
  );
  assert.deepEqual(await subscriber.subscribe('$SYS/#'), [0]);
  const publisher = await admitted(a.tcp);
  // On another server of a cluster the subscription is heard of a moment after SUBACK.
  await eventually(async () => {
    publisher.publish('t/x', '0');
    await subscriber.ping();
    return subscriber.received.some(({ cmd }) => cmd === 'publish');
  }, 'QoS 0 from the other node');
  assert.equal(await publisher.publishAcknowledged('t/a.b c', '1', 1), 0);
  assert.equal(await publisher.publishAcknowledged('t/>*', '2', 2), 0);
  const got = new Set<string>();
  while (got.size < 3) for (const { payload } of await subscriber.messages(1)) got.add(payload);
  assert.deepEqual([...got].toSorted(), ['0', '1', '2']);
  await publisher.end();
  await subscriber.end();
}

async function groups(_: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const members = [await admitted(a.tcp), await admitted(b.tcp)];
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
  const device = await admitted(a.tcp);
  assert.equal(await device.publishAcknowledged('state/1', 'on', 1, { retain: true }), 0);
  const application = await as('application');
  const puts = Array.from({ length: MANY_RETAINED }, (_, i) =>
    application.request(`$SMQ.retained.${prefix}many.${i}`, 'x', { timeout: 30_000 }),
  );
  for (const stored of await Promise.all(puts)) assert.doesNotMatch(stored.string(), /"error"/);
  await application.close();
  const reader = await admitted(b.tcp, { properties: { receiveMaximum: 65_535 } });
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
  const publisher = await admitted(b.tcp);
  await publisher.publishAll('orders/x', [1, 2, 3], 2);
  await device.connect(b.tcp);
  assert.equal(device.sessionPresent, true);
  await device.waitFor(3);
  const taken = await admitted(b.tcp, { clientId: 'two-places' });
  const other = await admitted(a.tcp, { clientId: 'two-places' });
  assert.equal(await taken.closingReason(), 0x8e);
  await other.end();
  await device.forget();
  await publisher.end();
}

async function wills(_: Place, a: EdgeProcess, b: EdgeProcess): Promise<void> {
  const watcher = await admitted(b.tcp);
  watcher.acknowledges = true;
  await watcher.subscribe({ topic: 'wills/#', qos: 1 });
  const at = async (name: string, willDelayInterval: number): Promise<void> => {
    const client = await admitted(a.tcp, {
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
export async function loseNode({ edges, startEdge }: Place): Promise<void> {
  const [a, b] = edges;
  assert.ok(a !== undefined && b !== undefined);
  const watcher = await admitted(b.tcp);
  watcher.acknowledges = true;
  await watcher.subscribe({ topic: 'wills/#', qos: 1 });
  const will = { topic: 'wills/node', payload: Buffer.from('gone'), qos: 1 as const, retain: false };
  await admitted(a.tcp, { clientId: 'of-the-dead', will });
  await a.kill();
  const arrived = (): boolean =>
    watcher.received.some((packet) => packet.cmd === 'publish' && packet.topic === 'wills/node');
  await poll(async () => arrived(), { what: 'the will of a killed node', timeoutMs: 30_000 });
  edges[0] = await startEdge('edge-a');
  await watcher.end();
}
