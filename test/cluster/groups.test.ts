/** Consumer groups over three nodes: `$share` and `$g` members, an ordinary subscriber, NATS applications as members. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectNats, type NatsConnection } from 'nats';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';

const MESSAGES = 3_000;

let nats: NatsServerProcess;
let edges: EdgeProcess[];
let application: NatsConnection;

before(async () => {
  nats = await startNatsServer();
  edges = await Promise.all([1, 2, 3].map(() => EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url })));
  application = await connectNats({ servers: nats.url });
});
after(async () => {
  await application.close();
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
});

function connect(index: number, version: 3 | 4 | 5 = 4): Promise<RawClient> {
  const edge = edges[index % edges.length];
  assert.ok(edge !== undefined);
  return RawClient.connect(edge.tcp, { version });
}

/** Numbers that have arrived at a client so far. */
function numbers(client: RawClient): number[] {
  return client.received.flatMap((packet) => (packet.cmd === 'publish' ? [Number(packet.payload)] : []));
}

function counted(clients: readonly RawClient[]): number {
  return clients.reduce((sum, client) => sum + numbers(client).length, 0);
}

function assertOnceEach(clients: readonly RawClient[], from: number, to: number): void {
  const all = clients.flatMap(numbers).sort((a, b) => a - b);
  assert.deepEqual(
    all,
    Array.from({ length: to - from }, (_, i) => from + i),
  );
}

test('six members of two groups on three nodes and a plain subscriber: once per group, fair shares, everything', async () => {
  const first = await Promise.all([0, 1, 2].map((node) => connect(node, 5)));
  const second = await Promise.all([0, 1, 2].map((node) => connect(node, 3)));
  const plain = await connect(1);
  for (const member of first) assert.deepEqual(await member.subscribe('$share/one/load/#'), [0]);
  for (const member of second) assert.deepEqual(await member.subscribe('$g/**123++/load/#'), [0]);
  await plain.subscribe('load/#');
  const publishers = await Promise.all([0, 1, 2].map((node) => connect(node)));
  for (let n = 0; n < MESSAGES; n++) publishers[n % 3]?.publish(`load/${n % 10}`, String(n));
  await eventually(
    () => counted(first) >= MESSAGES && counted(second) >= MESSAGES && counted([plain]) >= MESSAGES,
    '3,000 messages',
  );
  for (const clients of [first, second, [plain]]) assertOnceEach(clients, 0, MESSAGES);
  for (const member of [...first, ...second])
    assert.ok(numbers(member).length >= MESSAGES / 6, `${numbers(member).length} of a fair ${MESSAGES / 3}`);

  // One member says UNSUBSCRIBE, one its farewell: afterwards nothing is lost on those who have gone.
  const [leaver, quitter, stayer] = first;
  assert.ok(leaver !== undefined && quitter !== undefined && stayer !== undefined);
  leaver.send({ cmd: 'unsubscribe', messageId: 60_000, unsubscriptions: ['$share/one/load/#'] });
  await leaver.next('unsuback');
  await quitter.end();
  for (const client of [...first, ...second, plain]) client.received.length = 0;
  for (let n = 0; n < 500; n++) publishers[n % 3]?.publish('load/after', String(n));
  await eventually(() => counted([stayer]) >= 500 && counted(second) >= 500, '500 messages');
  assertOnceEach([stayer], 0, 500);
  assertOnceEach([leaver], 0, 0);
  assertOnceEach(second, 0, 500);
  for (const client of [leaver, stayer, ...second, plain, ...publishers]) await client.end();
});

test('a NATS application that queue-subscribes with the group name is a member like any other', async () => {
  const members = [await connect(0), await connect(1)];
  for (const member of members) await member.subscribe('$g/**mix++/jobs/+');
  const taken: number[] = [];
  application.subscribe('jobs.*', {
    queue: '**mix++',
    callback: (_error, message) => taken.push(Number(message.string())),
  });
  await application.flush();
  const publisher = await connect(2);
  for (let n = 0; n < 900; n++) publisher.publish(`jobs/${n % 5}`, String(n));
  await eventually(() => counted(members) + taken.length >= 900, '900 messages');
  const all = [...members.flatMap(numbers), ...taken].sort((a, b) => a - b);
  assert.deepEqual(
    all,
    Array.from({ length: 900 }, (_, i) => i),
  );
  for (const share of [...members.map((member) => numbers(member).length), taken.length])
    assert.ok(share >= 150, `${share} of a fair 300`);
  for (const client of [...members, publisher]) await client.end();
});

test('group names that a NATS line cannot carry still work, across nodes', async () => {
  for (const name of ['two words', '_sys_', 'tab\there', 'é-日本', 'x'.repeat(300), 'y'.repeat(5_000)]) {
    const members = [await connect(0), await connect(1)];
    for (const member of members) assert.deepEqual(await member.subscribe(`$share/${name}/odd`), [0], name);
    const publisher = await connect(2);
    for (let n = 0; n < 100; n++) publisher.publish('odd', String(n));
    await eventually(() => counted(members) >= 100, `100 messages for ${name}`);
    assertOnceEach(members, 0, 100);
    for (const client of [...members, publisher]) await client.end();
  }
});
