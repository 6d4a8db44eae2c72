/** Rules of access through real sockets: every way that a client could try to get around them, and rules that change meanwhile. */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { type ConnectFields, RawClient, type Version } from '../support/raw-client.ts';

const NOT_AUTHORIZED = 0x87;
const versions: readonly Version[] = [3, 4, 5];
const folder = mkdtempSync(join(tmpdir(), 'supermq-acl-'));
const file = join(folder, 'acl.yaml');

const rules = `
- who: { clientId: admin }
  rules: [{ allow: all, filter: '#' }, { allow: subscribe, filter: '$SYS/#' }]
- rules:
    - { deny: all, filter: pub/secret }
    - { allow: all, filter: 'own/%c/#' }
    - { allow: subscribe, filter: 'pub/#' }
    - { allow: publish, filter: pub/open, qos: 1, retain: false }
    - { allow: subscribe, filter: 'low/#', qos: 0 }
    - { allow: all, filter: 'later/#' }
    - { allow: all, filter: 'probe/wide' }
`;
/** What was allowed as later/… is not any more; QoS 1 of wide ones becomes 0. */
const narrow = rules.replace("filter: 'later/#'", "filter: 'later/kept/#'").replace('probe/wide', 'probe/narrow');

/** Replaces the file as an operator should: it is never seen half written. */
function replaceFile(text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

let node: Deployment;
let admin: RawClient;

before(async () => {
  writeFileSync(file, rules);
  node = await startDeployment({ SUPERMQ_ACL_FILE: file });
  admin = await connect('admin');
  const everything = ['pub/#', 'own/#', 'low/#', 'later/#', 'other'];
  assert.deepEqual(await admin.subscribe(...everything), [0, 0, 0, 0, 0]);
});
after(async () => {
  await admin.end();
  await node.stop();
  rmSync(folder, { recursive: true });
});
beforeEach(() => void admin.received.splice(0));

type Client = Awaited<ReturnType<typeof RawClient.connect>>;
let count = 0;

function connect(clientId = `c${++count}`, fields: ConnectFields = {}): Promise<Client> {
  return RawClient.connect(node.tcp, { version: 5, clientId, ...fields });
}

function durable(clientId: string): Promise<Client> {
  return connect(clientId, { clean: false, properties: { sessionExpiryInterval: 600 } });
}

/** Changes the rules and resolves when every node has them: connections go to the nodes in turn. */
async function change(text: string, probe: string): Promise<void> {
  replaceFile(text);
  let inARow = 0;
  await eventually(async () => {
    const client = await connect();
    const [code] = await client.subscribe(probe);
    await client.end();
    inARow = code === 0 ? inARow + 1 : 0;
    return inARow >= 6;
  }, 'all nodes to have the rules');
}

/** What has come to the administrator up to a message that is allowed, which is not counted. */
async function published(by: RawClient): Promise<string[]> {
  const mark = `mark ${++count}`;
  by.publish('pub/open', mark);
  const topics: string[] = [];
  for (;;) {
    const { payload, topic } = await admin.next('publish');
    if (payload.toString() === mark) return topics;
    topics.push(topic);
  }
}

test('access - SUBSCRIBE: a filter is refused unless one rule covers it and no denial before touches it, in every version', async () => {
  const granted = ['pub/open', 'pub/open/#', 'low/x', 'own/ID/#', 'own/ID', '$share/g/pub/open', '$g/g/own/ID/+'];
  const refused = [
    '#',
    '+',
    '+/#',
    '+/secret',
    '+/+',
    'pub/#',
    'pub/+',
    'pub/secret',
    'pub/secret/#',
    'own/#',
    'own/+/x',
  ];
  const groups = ['$share/g/#', '$share/g/+/secret', '$g/x/#', '$g/x/pub/secret', '$share/pub/own/other/#'];
  const others = ['$SYS/#', '$SYS/broker', 'other', '/pub/open', 'Pub/open'];
  for (const version of versions) {
    const client = await connect(undefined, { version });
    const id = `c${count}`;
    for (const filter of granted) {
      const [code] = await client.subscribe(filter.replace('ID', id));
      assert.equal(code, 0, `version ${version}: ${filter}`);
    }
    for (const filter of [...refused, ...groups, ...others]) {
      const [code] = await client.subscribe({ topic: filter, qos: 1 });
      assert.equal(code, version === 5 ? NOT_AUTHORIZED : 0x80, `version ${version}: ${filter}`);
    }
    admin.publish('pub/secret', 'hidden');
    admin.publish('own/other', 'hidden');
    admin.publish('low/x', 'seen');
    assert.deepEqual(await client.messages(1), [{ topic: 'low/x', payload: 'seen' }]);
    await client.end();
  }
});

test('access - SUBSCRIBE: the QoS of the rule is the highest that is granted', async () => {
  const client = await connect();
  assert.deepEqual(await client.subscribe({ topic: 'low/#', qos: 2 }, { topic: 'pub/open', qos: 2 }), [0, 2]);
  await client.end();
});

test('access - PUBLISH: refused with 0x87 where there is a word for it, acknowledged and dropped where there is none', async () => {
  const dropped = await node.metric('supermq_messages_dropped_total{cause="not_authorized"}');
  for (const version of versions) {
    const client = await connect(undefined, { version });
    const wanted = version === 5 ? NOT_AUTHORIZED : 0;
    for (const topic of ['pub/secret', 'own/other/x', 'other', 'own', 'low/x']) {
      client.publish(topic, 'no');
      client.publish(topic, 'no', { retain: true });
      for (const qos of [1, 2] as const)
        assert.equal(await client.publishAcknowledged(topic, 'no', qos), wanted, `version ${version}: ${topic}`);
    }
    // Allowed at QoS 1 at most, and not to be retained.
    assert.equal(await client.publishAcknowledged('pub/open', 'no', 2), wanted);
    assert.equal(await client.publishAcknowledged('pub/open', 'no', 1, { retain: true }), wanted);
    client.publish('pub/open', 'no', { retain: true });
    assert.equal(await client.publishAcknowledged('pub/open', 'yes', 1), 0);
    assert.deepEqual(await published(client), ['pub/open']);
    await client.end();
  }
  const [wrong] = await Promise.all([connect('admin-2')]);
  assert.deepEqual(await wrong.subscribe('pub/open'), [0]);
  await wrong.ping();
  assert.deepEqual(wrong.taken('publish'), [], 'nothing was retained');
  await wrong.end();
  const perVersion = 5 * 4 + 3;
  const now = await node.metric('supermq_messages_dropped_total{cause="not_authorized"}');
  assert.equal(now - dropped, versions.length * perVersion);
  assert.ok((await node.metric('supermq_acl_denied_total{action="publish"}')) >= versions.length * perVersion);
});

test('access - PUBLISH: an alias names a topic, and opens none', async () => {
  const client = await connect();
  const alias = (topicAlias: number): { properties: { topicAlias: number } } => ({ properties: { topicAlias } });
  client.publish('pub/secret', 'no', alias(1));
  client.publish('', 'no', alias(1));
  client.publish('pub/open', 'yes', alias(2));
  client.publish('', 'no', alias(1));
  client.publish('', 'yes', alias(2));
  client.publish('', 'no', { ...alias(2), retain: true });
  assert.equal(await client.publishAcknowledged('', 'no', 1, alias(1)), NOT_AUTHORIZED);
  assert.equal(await client.publishAcknowledged('pub/secret', 'no', 1, alias(2)), NOT_AUTHORIZED);
  client.publish('', 'no', alias(2));
  client.publish('pub/open', 'yes', alias(1));
  client.publish('', 'yes', alias(1));
  assert.deepEqual(await published(client), ['pub/open', 'pub/open', 'pub/open', 'pub/open']);
  await client.end();
});

test('access - a response topic is data: who answers there needs the right to', async () => {
  const [asking, answering] = [await connect(), await connect()];
  await answering.subscribe('pub/open');
  asking.publish('pub/open', 'what?', { properties: { responseTopic: 'pub/secret' } });
  const { properties } = await answering.next('publish');
  assert.equal(properties?.responseTopic, 'pub/secret');
  assert.equal(await answering.publishAcknowledged('pub/secret', 'no', 1), NOT_AUTHORIZED);
  await Promise.all([asking.end(), answering.end()]);
});

test('access - a will is checked like a message when it is registered', async () => {
  const refused = [
    { topic: 'pub/secret', qos: 0, retain: false },
    { topic: 'own/other/x', qos: 1, retain: false },
    { topic: 'pub/open', qos: 0, retain: true },
    { topic: 'pub/open', qos: 2, retain: false },
  ] as const;
  for (const version of versions) {
    for (const will of refused) {
      const client = await connect(undefined, { version, will: { ...will, payload: Buffer.from('no') } });
      const { connack } = client;
      assert.equal(version === 5 ? connack.reasonCode : connack.returnCode, version === 5 ? NOT_AUTHORIZED : 5);
      await client.closed;
    }
    const payload = Buffer.from('yes');
    const client = await connect(undefined, { version, will: { topic: 'pub/open', qos: 1, retain: false, payload } });
    await client.abort();
    assert.equal((await admin.next('publish')).payload.toString(), 'yes', 'the only one that was published');
  }
});

test('access - a client id with a slash or a wildcard, or that looks like a place in a rule, opens nothing', async () => {
  for (const clientId of ['+', '#', 'a/b', 'x/+', 'x/#', '%u', '/']) {
    const client = await connect(clientId);
    const filters = ['own/#', 'own/+', 'own/+/x', `own/${clientId}`, 'own/a/b/c', 'own/x/y', 'own//x'];
    // The last one is a client id like any other: it has its own topics.
    const valid = filters.filter((filter) => !/#.|[^/]\+|\+[^/]/.test(filter) && filter !== 'own/%u');
    for (const code of await client.subscribe(...valid)) assert.equal(code, NOT_AUTHORIZED, `${clientId} ${valid}`);
    client.publish('own/a/b/c', 'no');
    client.publish('own/x', 'no');
    assert.deepEqual(await published(client), []);
    await client.end();
  }
});

describe('rules that change', () => {
  beforeEach(() => change(rules, 'probe/wide'));

  test('access - a session that is resumed has lost what it may not have any more, groups included, on whatever node', async () => {
    const client = await durable('resumer');
    const texts = ['later/a', 'later/kept/a', '$share/g/later/b'];
    assert.deepEqual(await client.subscribe(...texts.map((topic) => ({ topic, qos: 1 as const }))), [1, 1, 1]);
    await client.end();
    const removed = await node.metric('supermq_acl_denied_total{action="resume"}');
    await change(narrow, 'probe/narrow');
    for (const topic of ['later/a', 'later/b', 'later/kept/a']) await admin.publishAcknowledged(topic, topic, 1);
    const resumed = await durable('resumer');
    assert.equal(resumed.connack.sessionPresent, true);
    assert.deepEqual(await resumed.messages(1), [{ topic: 'later/kept/a', payload: 'later/kept/a' }]);
    assert.equal((await node.metric('supermq_acl_denied_total{action="resume"}')) - removed, 2);
    resumed.acknowledges = true;
    await resumed.end();
    // The rules are wide again, and what was removed stays so.
    await change(rules, 'probe/wide');
    const again = await durable('resumer');
    again.acknowledges = true;
    for (const topic of ['later/a', 'later/b', 'later/kept/a']) await admin.publishAcknowledged(topic, 'again', 1);
    const seen = await again.nextMatching(
      (packet): packet is Extract<typeof packet, { cmd: 'publish' }> =>
        packet.cmd === 'publish' && packet.payload.toString() === 'again',
    );
    assert.equal(seen.topic, 'later/kept/a');
    await again.end(0);
  });

  test('access - a connected client that has what it may not have any more is closed with 0x87, and no other', async () => {
    const loses = await connect();
    assert.deepEqual(await loses.subscribe('later/x', 'later/kept/x'), [0, 0]);
    const old = await connect(undefined, { version: 4 });
    assert.deepEqual(await old.subscribe({ topic: 'later/x', qos: 1 }), [1]);
    const keeps = await connect();
    assert.deepEqual(await keeps.subscribe('later/kept/x'), [0]);
    const payload = Buffer.from('last');
    const withWill = await connect(undefined, { will: { topic: 'later/will', qos: 0, retain: false, payload } });
    const withGoodWill = await connect(undefined, {
      will: { topic: 'pub/open', qos: 0, retain: false, payload: Buffer.from('good') },
    });
    await withGoodWill.subscribe('later/y');
    await change(narrow, 'probe/narrow');
    for (const client of [loses, withWill, withGoodWill]) assert.equal(await client.closingReason(), NOT_AUTHORIZED);
    await old.closed;
    keeps.publish('later/kept/x', 'still here');
    assert.deepEqual(await keeps.messages(1), [{ topic: 'later/kept/x', payload: 'still here' }]);
    const topics = await published(keeps);
    assert.ok(!topics.includes('later/will'), 'a will that is not allowed any more is none');
    assert.ok(topics.includes('pub/open'), 'the other one is published');
    await keeps.end();
  });

  test('access - what was decided about a topic is forgotten when the rules change', async () => {
    const client = await connect();
    assert.equal(await client.publishAcknowledged('later/p', 'before', 1), 0);
    client.publish('later/p', 'before', { properties: { topicAlias: 1 } });
    await change(narrow, 'probe/narrow');
    assert.equal(await client.publishAcknowledged('later/p', 'after', 1), NOT_AUTHORIZED);
    assert.equal(await client.publishAcknowledged('', 'after', 1, { properties: { topicAlias: 1 } }), NOT_AUTHORIZED);
    await client.end();
  });

  test('access - rules that cannot be read leave the old ones in use', async () => {
    replaceFile('- rules: [{ allow: everything }]');
    const client = await connect();
    assert.deepEqual(await client.subscribe('later/z', 'other'), [0, NOT_AUTHORIZED]);
    await client.end();
    await change(narrow, 'probe/narrow');
  });
});
