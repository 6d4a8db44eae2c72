/** Keep Alive and Server Keep Alive, on a clock that stands until a test moves it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startNode, type TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { ManualClock } from '../unit/embedded/manual-clock.ts';

type Connected = Awaited<ReturnType<typeof RawClient.connect>>;

const clock = new ManualClock();
let node: TestNode;
/** At most 30 seconds. */
let strict: TestNode;
before(async () => {
  node = await startNode({}, clock);
  strict = await startNode({ SUPERMQ_LIMITS_MAX_KEEP_ALIVE_SECONDS: '30' }, clock);
});
after(async () => {
  await Promise.all([node.stop(), strict.stop()]);
});

function connect(on: TestNode, version: 3 | 4 | 5, keepalive: number): Promise<Connected> {
  return RawClient.connect(on.tcp, { version, keepalive });
}

/** The connection lasts for `seconds` of silence and not for a tenth of a second more. */
async function assertLasts(client: RawClient, seconds: number): Promise<void> {
  await client.ping();
  clock.pass(seconds);
  await client.ping();
  clock.pass(seconds + 0.1);
  assert.equal(await client.closingReason(), client.version === 5 ? 0x8d : undefined);
}

/** No silence is too long. */
async function assertLastsForEver(client: RawClient): Promise<void> {
  clock.pass(10 * 365 * 86_400);
  await client.ping();
  await client.end();
}

for (const version of [3, 4, 5] as const) {
  test(`[MQTT5 3.1.2-22] [MQTT311 3.1.2-24] MQTT version ${version}: silence of more than 1.5 times the keep alive ends the connection, 0 never does`, async () => {
    await assertLasts(await connect(node, version, 10), 15);
    await assertLasts(await connect(node, version, 65_535), 98_302.5);
    await assertLastsForEver(await connect(node, version, 0));
  });
}

test('[MQTT5 3.1.2-22] any packet is a sign of life, half a packet is none', async () => {
  const client = await connect(node, 5, 10);
  for (let i = 0; i < 3; i++) {
    clock.pass(14);
    client.publish('alive', 'x', { qos: 1, messageId: 1 });
    await client.next('puback');
  }
  const received = node.counters.bytesReceived;
  client.send(Buffer.from([0x30, 100, 0, 1]));
  while (node.counters.bytesReceived < received + 4) await new Promise(setImmediate);
  clock.pass(15.1);
  assert.equal(await client.closingReason(), 0x8d);
});

test('[MQTT5 3.2.2-21] [MQTT5 3.2.2-22] a Server Keep Alive that CONNACK names is the one enforced, the own one otherwise', async () => {
  const cases = [
    { asked: 60, named: 30, enforced: 45 },
    { asked: 31, named: 30, enforced: 45 },
    { asked: 0, named: 30, enforced: 45 },
    { asked: 30, named: undefined, enforced: 45 },
    { asked: 20, named: undefined, enforced: 30 },
  ];
  for (const { asked, enforced, named } of cases) {
    const client = await connect(strict, 5, asked);
    assert.equal(client.connack.properties?.serverKeepAlive, named, `asked for ${asked}`);
    await assertLasts(client, enforced);
  }
  const free = await connect(node, 5, 65_535);
  assert.equal(free.connack.properties?.serverKeepAlive, undefined, 'no limit, nothing to say');
  await free.end();
});

test('[MQTT311 3.1.2-24] a 3.x client cannot hear of another keep alive, so its own holds', async () => {
  for (const version of [3, 4] as const) {
    await assertLasts(await connect(strict, version, 60), 90);
    await assertLastsForEver(await connect(strict, version, 0));
  }
});

test('[MQTT5 3.1.2-8] [MQTT5 3.1.2-22] the end by keep alive is an unclean one: the will is published', async () => {
  const watcher = await connect(node, 5, 0);
  await watcher.subscribe('silent');
  const will = { topic: 'silent', payload: Buffer.from('gone'), qos: 0 as const, retain: false };
  const client = await RawClient.open(node.tcp, 5);
  client.send(connectPacket({ version: 5, keepalive: 10, will }));
  await client.next('connack');
  clock.pass(15.1);
  assert.equal((await watcher.next('publish')).payload.toString(), 'gone');
  await watcher.end();
});
