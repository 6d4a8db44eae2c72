/**
 * Which topics reach which filters (section 4.7), over sockets: one table, every way on which a message finds a subscription. The table
 * is written by hand, apart from the server's own matching. Topics that start with `$` are in test/cluster/fan-out.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment();
});
after(() => node.stop());

const score = ['sport/', 'sport/tennis', 'sport/tennis/p1', 'sport/tennis/p1/score'];
/** Of one level, with what could be taken for something else: other cases, spaces, characters of NATS and of URLs, combining marks. */
const single = [
  ...['sport', 'Sport', 'finance', 'a b', ' a', 'a ', '.', '..', 'a.b', 'a..b', '*', '>', '~', 'a%2Fb', 'a\\b', 'a$b'],
  ...['é', 'e\u0301', '\uFEFFa', 'a\uFEFF', 'a\u200B', '🦆', 'x\ty', 'x\u0001y', '_x', 'x'.repeat(1_000)],
];
const topics = [
  ...[...single, ...score, '/', '//', '/finance', 'a//b', 'a/b', 'A/b', 'a/b/', 'a/*', 'a/>', 'a/.', './a'],
  ...['日本/語', 'x/$SYS/y', 'SYS/y'],
];
/** Nothing but `#` matches it: what comes before it is all that comes. */
const MARKER = 'the/last/of/all/messages';

/** What each filter matches. A topic as a filter matches itself and nothing else. */
const table: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ...topics.map((topic) => [topic, [topic]] as const),
  ['#', topics],
  ['sport/#', ['sport', ...score]],
  ['sport/+', ['sport/', 'sport/tennis']],
  ['sport/+/+', ['sport/tennis/p1']],
  ['sport/+/#', score],
  ['sport/+/p1', ['sport/tennis/p1']],
  ['sport/tennis/#', score.slice(1)],
  ['sport/tennis/p1/score/#', score.slice(3)],
  ['sport/tennis/p1/+/+', []],
  ['+/tennis/#', score.slice(1)],
  ['+/tennis/+/score', score.slice(3)],
  ['+', single],
  ['+/', ['sport/', '/']],
  ['+/+', ['sport/', 'sport/tennis', '/', '/finance', 'a/b', 'A/b', 'a/*', 'a/>', 'a/.', './a', '日本/語', 'SYS/y']],
  ['+/+/+', ['sport/tennis/p1', '//', 'a//b', 'a/b/', 'x/$SYS/y']],
  ['+/#', topics],
  ['/+', ['/', '/finance']],
  ['/#', ['/', '//', '/finance']],
  ['//#', ['/', '//']],
  ['+//+', ['//', 'a//b']],
  ['finance/#', ['finance']],
  ['a/+', ['a/b', 'a/*', 'a/>', 'a/.']],
  ['a/+/b', ['a//b']],
  ['a/#', ['a//b', 'a/b', 'a/b/', 'a/*', 'a/>', 'a/.']],
  ['A/#', ['A/b']],
  ['./+', ['./a']],
  ['*/#', ['*']],
  ['>/+', []],
  ['日本/+', ['日本/語']],
  ['+/$SYS/#', ['x/$SYS/y']],
  ['+/y', ['SYS/y']],
  ['tennis', []],
  ['SPORT/#', []],
]);

type Client = Awaited<ReturnType<typeof RawClient.connect>>;

function connect(fields: ConnectFields = {}): Promise<Client> {
  return RawClient.connect(node.tcp, { version: 5, ...fields });
}

/** Publishes every topic, each with its name as payload. */
async function publishTopics(qos: 0 | 1, { isRetained = false } = {}): Promise<void> {
  const publisher = await connect();
  for (const topic of topics) {
    if (qos === 0) publisher.publish(topic, topic);
    else await publisher.publishAcknowledged(topic, topic, qos, { retain: isRetained });
  }
  await publisher.ping();
  await publisher.end();
}

/** One client for each filter. */
async function eachFilter(open: (filter: string) => Promise<Client>): Promise<Map<string, Client>> {
  return new Map(await Promise.all([...table.keys()].map(async (filter) => [filter, await open(filter)] as const)));
}

/** Each client has got what its filter matches, `times` times, and no more when a later message of the same publisher comes. */
async function check(clients: ReadonlyMap<string, Client>, times = 1): Promise<void> {
  const countOf = ({ received }: Client): number => received.filter(({ cmd }) => cmd === 'publish').length;
  for (const [filter, client] of clients) {
    const expected = (table.get(filter)?.length ?? 0) * times;
    await eventually(() => countOf(client) >= expected, `${expected} messages of ${filter}, not ${countOf(client)}`);
  }
  await Promise.all([...clients.values()].map((client) => client.subscribe({ topic: MARKER, qos: 1 })));
  const publisher = await connect();
  await publisher.publishAcknowledged(MARKER, MARKER, 1);
  for (const [filter, client] of clients) {
    const got: string[] = [];
    while (got.at(-1) !== MARKER) {
      const { payload, topic } = await client.next('publish');
      assert.equal(payload.toString(), topic, 'the name is the published one, byte for byte');
      got.push(topic);
    }
    const expected = Array.from({ length: times }, () => table.get(filter) ?? []).flat();
    assert.deepEqual(got.slice(0, -1).sort(), expected.sort(), filter);
  }
  await publisher.end();
  await Promise.all([...clients.values()].map((client) => client.end(client.version === 5 ? 0 : undefined)));
}

const ids =
  '[MQTT5 3.3.2-3] [MQTT311 3.3.2-3] [MQTT5 4.7.1-1] [MQTT311 4.7.1-2] [MQTT5 4.7.1-2] [MQTT311 4.7.1-3] [MQTT5 §4.7.1.2] [MQTT5 §4.7.1.3] [MQTT5 4.7.3-4] [MQTT311 4.7.3-4]';

let serial = 0;
for (const version of [4, 5] as const) {
  const name = version === 4 ? 'MQTT 3.1.1' : 'MQTT 5';

  test(`${ids} ${name}, live: each filter gets the topics that it matches, with their names as they were, and no other`, async () => {
    const clients = await eachFilter(async (topic) => {
      const client = await connect({ version });
      client.acknowledges = true;
      assert.deepEqual(await client.subscribe({ topic, qos: 1 }), [1]);
      return client;
    });
    await publishTopics(0);
    await publishTopics(1);
    await check(clients, 2);
  });

  test(`${ids} ${name}, stored while away: the same`, async () => {
    const away = version === 5 ? { properties: { sessionExpiryInterval: 600 } } : {};
    const fields = new Map(
      [...table.keys()].map((filter) => [filter, { version, clientId: `away-${++serial}`, clean: false, ...away }]),
    );
    const open = (filter: string): Promise<Client> => connect(fields.get(filter));
    const before = await eachFilter(async (topic) => {
      const client = await open(topic);
      await client.subscribe({ topic, qos: 1 });
      return client;
    });
    await Promise.all([...before.values()].map((client) => client.end()));
    await publishTopics(1);
    const clients = await eachFilter(open);
    for (const client of clients.values()) client.acknowledges = true;
    await check(clients);
  });

  test(`${ids} ${name}, in a group: the same`, async () => {
    const clients = await eachFilter(async (topic) => {
      const client = await connect({ version });
      client.acknowledges = true;
      // A name for each: groups with one name and filters that overlap share their QoS 0 messages on NATS.
      assert.deepEqual(await client.subscribe({ topic: `$share/${++serial}/${topic}`, qos: 1 }), [1]);
      return client;
    });
    await publishTopics(0);
    await publishTopics(1);
    await check(clients, 2);
  });
}

test(`${ids} retained: the same`, async () => {
  await publishTopics(1, { isRetained: true });
  for (const version of [4, 5] as const) {
    const clients = await eachFilter(async (topic) => {
      const client = await connect({ version });
      client.acknowledges = true;
      await client.subscribe({ topic, qos: 1 });
      return client;
    });
    await check(clients);
  }
});
