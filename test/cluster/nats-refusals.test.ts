/** What NATS refuses to a node is told with its subject and counted, and a client that causes much of it does not fill the log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

const MESSAGES = 500;
/** Not authorized would be the client's fault; this is the server's. */
const IMPLEMENTATION_SPECIFIC_ERROR = 0x83;

test('NATS refusals - the first one is told at once, a flood by a line a second, each is counted, and the node serves on', async () => {
  const permissions =
    'permissions: { publish: { allow: ">", deny: "closed.>" }, subscribe: { allow: ">", deny: "closed.>" } }';
  const nats = await startNatsServer({
    extraConfig: `authorization { users: [{ user: a, password: a, ${permissions} }] }`,
  });
  const edge = await EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_USER: 'a',
    SUPERMQ_NATS_PASSWORD: 'a',
  });
  const client = await RawClient.connect(edge.tcp, { version: 5 });
  const started = performance.now();
  for (let i = 0; i < MESSAGES; i++) client.publish(`closed/${i}`, 'x');
  assert.deepEqual(await client.subscribe('closed/topic', 'open'), [0x87, 0]);
  const refused = async (): Promise<boolean> => (await edge.metric('supermq_bus_refused_total')) === MESSAGES + 1;
  await eventually(refused, 'every refusal counted');
  client.publish('open', 'still here');
  assert.deepEqual(await client.messages(1), [{ topic: 'open', payload: 'still here' }]);
  const seconds = (performance.now() - started) / 1000;
  const lines = edge.wholeOutput.split('\n').filter((line) => line.includes('"nats.refused"'));
  assert.match(lines[0] ?? '', /"code":"PERMISSIONS_VIOLATION","operation":"publish","subject":"closed\.0","count":1/);
  assert.ok(lines.length <= seconds + 1, `${lines.length} lines in ${seconds} s`);
  await client.end();
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});

test('NATS refusals - a message that the log may not get is refused to its client, and holds up nobody', async () => {
  const permissions = 'permissions: { publish: { allow: ">", deny: "$SMQ.log.closed.>" } }';
  const nats = await startNatsServer({
    extraConfig: `authorization { users: [{ user: a, password: a, ${permissions} }] }`,
  });
  const edge = await EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_USER: 'a',
    SUPERMQ_NATS_PASSWORD: 'a',
  });
  const [hostile, ordinary] = [
    await RawClient.connect(edge.tcp, { version: 5 }),
    await RawClient.connect(edge.tcp, { version: 5 }),
  ];
  for (const topic of ['closed/a', 'closed/"quoted" \\ é', 'closed/\ufeff日本', 'closed/\u0001', 'closed/\u{e0001}'])
    for (const qos of [1, 2] as const) {
      const refused = hostile.publishAcknowledged(topic, 'x', qos);
      assert.equal(await ordinary.publishAcknowledged('open', 'x', qos), 0);
      assert.equal(await refused, IMPLEMENTATION_SPECIFIC_ERROR, topic);
    }
  for (const client of [hostile, ordinary]) await client.end();
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});
