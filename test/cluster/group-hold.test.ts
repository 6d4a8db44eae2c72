/** Who has a message of a group, and for how long: members that work for long, nodes and servers that freeze and die. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { ACK_WAIT_MILLISECONDS, elapsed, GroupNodes } from '../support/group-nodes.ts';
import { poll } from '../support/poll.ts';
import { publishNumbers, range } from '../support/session-client.ts';

let nodes: GroupNodes;

before(async () => {
  nodes = await GroupNodes.start();
});
after(() => nodes.stop());

test('what a member works on for longer than the ack wait is given to nobody else, sent or waiting; at its end it is, at once', async () => {
  const holder = await nodes.join(0, '$share/long/work', 1, { receiveMaximum: 2 });
  await nodes.publish('work', { to: 4 });
  await holder.waitFor(2);
  const other = await nodes.join(1, '$share/long/work', 1);
  await elapsed(ACK_WAIT_MILLISECONDS * 1.5);
  // Two more were given to the holder's node before the other one came, or to the other one.
  const early = other.numbers();
  assert.ok(
    early.every((number) => number > 1),
    `${early} came although they are worked on`,
  );
  assert.equal(other.arrivals.length, early.length);
  assert.deepEqual(holder.numbers(), [0, 1]);
  const start = performance.now();
  await holder.abort();
  await other.waitFor(4);
  assert.ok(performance.now() - start < 2_000, 'at once');
  assert.deepEqual(other.numbers().sort(), range(4));
  await other.forget();
});

test('a node that freezes: what it held goes to others after the ack wait, and it gives out nothing when it wakes', async () => {
  const frozen = nodes.edges[0];
  assert.ok(frozen !== undefined);
  for (const qos of [1, 2] as const) {
    const filter = `$share/frozen${qos}/ice/${qos}`;
    const [asleep, awake] = [await nodes.join(0, filter, qos, { receiveMaximum: 5 }), await nodes.connect(1)];
    freeze(frozen.pid);
    const publisher = await nodes.connect(1, { expiry: 0 });
    // Its request still waits at the server: it is given messages that it does not see.
    await publishNumbers(publisher, { topic: `ice/${qos}`, to: 10, qos });
    await awake.subscribe(filter, qos);
    await poll(async () => awake.numbers().length === 10, { what: 'all at the other', timeoutMs: 30_000 });
    process.kill(frozen.pid, 'SIGCONT');
    await asleep.closed;
    assert.deepEqual(asleep.arrivals, []);
    assert.equal(awake.arrivals.length, 10, 'once each');
    await frozen.waitForStatus('readyz', 200);
    // A positive twin: the member is back, with its session, and gets its share.
    asleep.acknowledges = () => true;
    await asleep.connect(nodes.portOf(1));
    assert.equal(asleep.sessionPresent, true);
    await publishNumbers(publisher, { topic: `ice/${qos}`, from: 10, to: 30, qos });
    await eventually(() => asleep.arrivals.length + awake.arrivals.length === 30);
    assert.ok(asleep.arrivals.length > 0);
    await Promise.all([asleep.forget(), awake.forget(), publisher.leave()]);
  }
});

test('[MQTT5 4.4.0-1] nats-server killed and back: groups go on, and what members of a node work on or have finished does not come again', async () => {
  const [holder, other] = [
    await nodes.join(0, '$share/restart/again', 1, { receiveMaximum: 5 }),
    await nodes.connect(0),
  ];
  await nodes.publish('again', { to: 5 });
  await holder.waitFor(5);
  await other.subscribe('$share/restart/again', 2);
  await nodes.publish('again', { from: 5, to: 50, qos: 2 });
  // The server writes what it has handed out, and what was acknowledged, a moment later: killed at once, it forgets some of it.
  await nodes.nats.kill();
  await nodes.nats.start();
  for (const edge of nodes.edges) await edge.waitForStatus('readyz', 200);
  await nodes.publish('again', { from: 50, to: 150, qos: 2 });
  await other.waitFor(145);
  await elapsed(ACK_WAIT_MILLISECONDS * 1.2);
  assert.deepEqual(holder.numbers(), range(5));
  assert.equal(holder.arrivals.length, 5);
  assert.deepEqual(
    other.numbers().sort((a, b) => a - b),
    range(145, 5),
  );
  assert.equal(other.arrivals.length, 145);
  for (const arrival of holder.arrivals) holder.acknowledge(arrival);
  await holder.publish('elsewhere', 'round trip');
  await holder.forget();
  await nodes.publish('again', { from: 150, to: 151 });
  await other.waitFor(146);
  assert.equal(other.arrivals.length, 146);
  await other.forget();
});
