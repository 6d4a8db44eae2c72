/** SUBSCRIBE, UNSUBSCRIBE, matching, overlaps, options and groups on an embedded node. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { RawClient, type Version } from '../support/raw-client.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({ SUPERMQ_LIMITS_MAX_SUBSCRIPTIONS_PER_CLIENT: '50' });
});
after(() => node.stop());

/** Runs `body` with connected clients and ends them afterwards. */
async function withClients(
  versions: readonly Version[],
  body: (...clients: RawClient[]) => Promise<void>,
): Promise<void> {
  const clients: RawClient[] = [];
  for (const version of versions) clients.push(await RawClient.connect(node.tcp, { version }));
  try {
    await body(...clients);
  } finally {
    for (const client of clients) await client.end();
  }
}

/** What `subscriber` has received after everything published before has come through. */
async function received(subscriber: RawClient, publisher: RawClient): Promise<string[]> {
  await subscriber.subscribe('test/marker');
  publisher.publish('test/marker', '');
  const topics: string[] = [];
  for (;;) {
    const { payload, topic } = await subscriber.next('publish');
    if (topic === 'test/marker') break;
    topics.push(`${topic}=${payload.toString()}`);
  }
  subscriber.send({ cmd: 'unsubscribe', messageId: subscriber.nextPacketId(), unsubscriptions: ['test/marker'] });
  await subscriber.next('unsuback');
  return topics;
}

test('[MQTT5 3.8.4-6] [MQTT311 3.8.4-5] [MQTT311 3.8.3-2] one code per filter, in order; wildcards are granted to every version', async () => {
  for (const version of [3, 4, 5] as const) {
    await withClients([version], async (client) => {
      const messageId = client.nextPacketId();
      const subscriptions = [
        { topic: 'a', qos: 2 as const },
        { topic: 'a#', qos: 0 as const },
        { topic: 'b/#', qos: 1 as const },
        { topic: '$SMQ/x', qos: 0 as const },
      ];
      client.send({ cmd: 'subscribe', messageId, subscriptions });
      const suback = await client.next('suback');
      assert.equal(suback.messageId, messageId);
      assert.deepEqual(suback.granted, version === 5 ? [2, 0x8f, 1, 0x87] : [2, 0x80, 1, 0x80]);
    });
  }
});

test('[MQTT5 4.7.1-1] [MQTT311 4.7.1-2] [MQTT5 4.7.1-2] [MQTT311 4.7.1-3] [MQTT5 4.8.2-1] [MQTT5 4.8.2-2] [supermq group-names] [MQTT5 §3.9.3 codes] [C] filters that break a rule, group names too, get 0x8F (0x80 for 3.x), and match nothing', async () => {
  const versions: Version[] = [5, 4, 3];
  for (const version of versions)
    await withClients([version, 4], async (subscriber, publisher) => {
      const bad = [
        'a#',
        '#/a',
        'a/#/b',
        'a+',
        '+a',
        'a/b+/c',
        '$share',
        '$share/',
        '$share/g',
        '$share/g/',
        '$share//a',
        '$share/a+/b',
        '$share/a#/b',
        '$g',
        '$g/',
        '$g/x',
        '$g/x/',
        '$g//a',
        '$g/1234567890/a',
      ];
      assert.deepEqual(
        await subscriber.subscribe(...bad),
        bad.map(() => (version === 5 ? 0x8f : 0x80)),
      );
      for (const topic of ['a', 'a/b', 'x', 'g']) publisher.publish(topic, 'no');
      assert.deepEqual(await received(subscriber, publisher), []);
    });
});

test('[MQTT5 §3.9.3 codes] walls: hidden first levels get 0x87 (0x80 for 3.x), also inside a group', async () => {
  const hidden = ['$JS/API/#', '$KV/#', '_INBOX/#', '$SMQ/#', '$x', '$share/g/$KV/#', '$g/g/_INBOX/#'];
  await withClients([5, 4], async (five, four) => {
    assert.deepEqual(
      await five.subscribe(...hidden),
      hidden.map(() => 0x87),
    );
    assert.deepEqual(
      await four.subscribe(...hidden),
      hidden.map(() => 0x80),
    );
    assert.deepEqual(await five.subscribe('$SYS/#'), [0]);
  });
});

test('[MQTT5 §4.7.3] [MQTT5 4.7.3-3] [MQTT5 §3.9.3 codes] a filter that is too long or too deep gets 0x97, and the node is fine', async () => {
  await withClients([5], async (client) => {
    assert.deepEqual(await client.subscribe('x'.repeat(65_535), `${'a/'.repeat(1_000)}#`, 'fine'), [0x97, 0x97, 0]);
  });
});

test('[MQTT5 §3.9.3 codes] subscriptions above the limit per client get 0x97; a replaced one does not count twice', async () => {
  await withClients([5], async (client) => {
    const filters = Array.from({ length: 50 }, (_, i) => `limit/${i}`);
    assert.ok((await client.subscribe(...filters)).every((code) => code === 0));
    assert.deepEqual(await client.subscribe('limit/50', 'limit/0'), [0x97, 0]);
  });
});

test('[MQTT5 §4.7.1.2] [MQTT5 §4.7.1.3] [MQTT311 4.7.1-3] wildcards match as they must', async () => {
  await withClients([4, 4], async (subscriber, publisher) => {
    await subscriber.subscribe('sport/+', '+/+/deep', '/+', 'tail/#');
    for (const topic of ['sport', 'sport/', 'sport/a', 'sport/a/b', '/x', 'x/y/deep', '//deep', 'tail', 'tail/a/b'])
      publisher.publish(topic, '');
    const expected = ['sport/', 'sport/a', '/x', 'x/y/deep', '//deep', 'tail', 'tail/a/b'];
    assert.deepEqual(
      await received(subscriber, publisher),
      expected.map((topic) => `${topic}=`),
    );
  });
});

test('[MQTT5 3.3.4-2] overlapping subscriptions: one copy, with the identifiers of all', async () => {
  await withClients([5, 4], async (subscriber, publisher) => {
    await subscriber.subscribeWith({ subscriptionIdentifier: 1 }, 'over/#');
    await subscriber.subscribeWith({ subscriptionIdentifier: 200 }, 'over/a');
    await subscriber.subscribeWith({ subscriptionIdentifier: 268_435_455 }, 'over/+');
    await subscriber.subscribe('+/a');
    publisher.publish('over/a', '1');
    publisher.publish('over/b', '2');
    publisher.publish('over/b/c', '3');
    publisher.publish('other/a', '4');
    const seen: Array<[string, unknown]> = [];
    for (let i = 0; i < 4; i++) {
      const { payload, properties } = await subscriber.next('publish');
      const ids = properties?.subscriptionIdentifier;
      seen.push([payload.toString(), Array.isArray(ids) ? ids.sort((a, b) => a - b) : ids]);
    }
    assert.deepEqual(seen, [
      ['1', [1, 200, 268_435_455]],
      ['2', [1, 268_435_455]],
      ['3', 1],
      ['4', undefined],
    ]);
    assert.deepEqual(await received(subscriber, publisher), []);
  });
});

test('overlapping subscriptions: order is kept, and the other one takes over when one goes', async () => {
  await withClients([4, 4], async (subscriber, publisher) => {
    await subscriber.subscribe('order/#', 'order/a', 'order/+');
    for (let i = 0; i < 100; i++) publisher.publish('order/a', String(i));
    const expected = Array.from({ length: 100 }, (_, i) => `order/a=${i}`);
    assert.deepEqual(await received(subscriber, publisher), expected);
    subscriber.send({ cmd: 'unsubscribe', messageId: 999, unsubscriptions: ['order/#'] });
    await subscriber.next('unsuback');
    publisher.publish('order/a', 'x');
    publisher.publish('order/a/b', 'no');
    assert.deepEqual(await received(subscriber, publisher), ['order/a=x']);
    subscriber.send({ cmd: 'unsubscribe', messageId: 998, unsubscriptions: ['order/a'] });
    await subscriber.next('unsuback');
    publisher.publish('order/a', 'y');
    assert.deepEqual(await received(subscriber, publisher), ['order/a=y']);
  });
});

test('[MQTT5 3.8.4-3] [MQTT311 3.8.4-3] the same filter again replaces options and identifier, without a gap', async () => {
  await withClients([5, 4], async (subscriber, publisher) => {
    await subscriber.subscribeWith({ subscriptionIdentifier: 1 }, 'again');
    publisher.publish('again', '1');
    await subscriber.next('publish');
    await subscriber.subscribeWith({ subscriptionIdentifier: 2 }, 'again');
    publisher.publish('again', '2');
    const { payload, properties } = await subscriber.next('publish');
    assert.deepEqual([payload.toString(), properties?.subscriptionIdentifier], ['2', 2]);
    assert.deepEqual(await received(subscriber, publisher), []);
  });
});

test('[MQTT5 3.8.3-3] No Local: own messages do not come back, those of others and those of a second filter do', async () => {
  await withClients([5, 5], async (own, other) => {
    await own.subscribe({ topic: 'local/+', nl: true });
    own.publish('local/a', 'own');
    other.publish('local/a', 'other');
    assert.deepEqual(await received(own, other), ['local/a=other']);
    await own.subscribe('local/a');
    own.publish('local/a', 'own again');
    own.publish('local/b', 'still not');
    other.publish('local/b', 'last');
    const seen = await received(own, other);
    assert.deepEqual(seen.sort(), ['local/a=own again', 'local/b=last']);
  });
});

test('[MQTT5 3.8.3-4] [C] No Local on a shared subscription is a protocol error', async () => {
  const client = await RawClient.connect(node.tcp, { version: 5 });
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$share/g/a', qos: 0, nl: true }] });
  await client.closed;
  assert.equal(client.received[0]?.cmd === 'disconnect' && client.received[0].reasonCode, 0x82);
});

test('[MQTT5 3.10.4-1] [MQTT5 3.11.3-1] UNSUBSCRIBE deletes by exact text, one code per filter', async () => {
  await withClients([5, 4], async (subscriber, publisher) => {
    await subscriber.subscribe('u/a', '$share/g/u/b');
    subscriber.send({
      cmd: 'unsubscribe',
      messageId: 7,
      unsubscriptions: ['u/a', 'u/b', 'U/A', '$share/g/u/b', 'u/a'],
    });
    const unsuback = await subscriber.next('unsuback');
    assert.deepEqual([unsuback.messageId, unsuback.granted], [7, [0, 0x11, 0x11, 0, 0x11]]);
    for (const topic of ['u/a', 'u/b']) publisher.publish(topic, 'no');
    assert.deepEqual(await received(subscriber, publisher), []);
    publisher.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['never'] });
    assert.equal((await publisher.next('unsuback')).messageId, 9);
  });
});

test('[MQTT5 §4.8.2 one-member] [MQTT5 4.8.2-1] [supermq group-names] groups: each message to one member per group; $g and $share with one name are one group; 3.x may join', async () => {
  await withClients([5, 4, 3, 4, 5], async (a, b, c, plain, publisher) => {
    assert.deepEqual(await a.subscribe('$share/**123++x/job/#'), [0x8f]);
    assert.deepEqual(await a.subscribe('$share/team/job/#'), [0]);
    assert.deepEqual(await b.subscribe('$g/team/job/#'), [0]);
    assert.deepEqual(await c.subscribe('$g/**123++/job/#'), [0]);
    await plain.subscribe('job/#');
    for (let i = 0; i < 300; i++) publisher.publish(`job/${i % 3}`, String(i));
    const [ofA, ofB, ofC, ofPlain] = [
      await received(a, publisher),
      await received(b, publisher),
      await received(c, publisher),
      await received(plain, publisher),
    ];
    const all = Array.from({ length: 300 }, (_, i) => `job/${i % 3}=${i}`);
    assert.deepEqual(ofPlain, all);
    assert.deepEqual(ofC, all);
    assert.deepEqual([...ofA, ...ofB].sort(), [...all].sort());
    assert.ok(ofA.length > 75 && ofB.length > 75, `${ofA.length} and ${ofB.length} of 300`);
  });
});

test('[MQTT5 §4.8.2 one-member] a member of a group and a plain subscriber in one client: both apply, groups and ordinary subscriptions are independent', async () => {
  await withClients([4, 4], async (client, publisher) => {
    await client.subscribe('$share/g/both', 'both');
    publisher.publish('both', 'x');
    assert.deepEqual(await received(client, publisher), ['both=x', 'both=x']);
  });
});

test('a group survives its members: who leaves leaves nothing lost, a dropped connection too', async () => {
  await withClients([4, 4], async (stays, publisher) => {
    const leaves = await RawClient.connect(node.tcp);
    const crashes = await RawClient.connect(node.tcp);
    for (const client of [stays, leaves, crashes]) await client.subscribe('$share/rest/r');
    await leaves.end();
    await crashes.abort();
    // The server has noticed the reset once it has no more than the two clients' connections.
    while (node.counters.connectionsAccepted === 0) await publisher.ping();
    const probe = async (): Promise<number> => (await received(stays, publisher)).length;
    let got = 0;
    for (let round = 0; round < 50 && got < 20; round++) {
      for (let i = 0; i < 20; i++) publisher.publish('r', String(i));
      got = await probe();
    }
    assert.equal(got, 20);
  });
});

test('[MQTT5 3.12.4-1] [MQTT5 §3.12] [C] PINGREQ is answered, and a payload in it is malformed', async () => {
  const client = await RawClient.connect(node.tcp, { version: 5 });
  await client.ping();
  client.send(Buffer.from([0xc0, 1, 0]));
  await client.closed;
  assert.equal(client.received[0]?.cmd === 'disconnect' && client.received[0].reasonCode, 0x81);
});
