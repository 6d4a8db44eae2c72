/** Node leases: a paused node serves nobody when it wakes, a node id has one life at a time, sessions of dead nodes get their end. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { sweepOnce } from '../../src/session/orphans.ts';
import { decodeRecord, encodeRecord, type SessionRecord } from '../../src/session/record.ts';
import { openBackplane } from '../support/backplane.ts';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { RawClient } from '../support/raw-client.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const LEASE_SECONDS = 5;
let nats: NatsServerProcess;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

function startEdge(env: Record<string, string> = {}, waitFor: 'readyz' | 'healthz' = 'readyz'): Promise<EdgeProcess> {
  return EdgeProcess.start(
    { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS), ...env },
    waitFor,
  );
}

test('a node that was paused for longer than its lease closes its clients unread when it wakes, and serves again', async () => {
  const [paused, other] = [await startEdge(), await startEdge()];
  const subscriber = await RawClient.connect(other.tcp);
  await subscriber.subscribe('paused/#');
  const client = await RawClient.connect(paused.tcp);
  client.publish('paused/a', 'before', { qos: 1, messageId: 1 });
  await client.next('puback');
  assert.equal((await subscriber.messages(1))[0]?.payload, 'before');

  freeze(paused.pid);
  const frozenAt = performance.now();
  client.publish('paused/a', 'buffered', { qos: 1, messageId: 2 });
  // Time itself is what is tested here: the lease must be over.
  await poll(async () => performance.now() - frozenAt > (LEASE_SECONDS + 1) * 1000, {
    what: 'the lease',
    timeoutMs: 20_000,
  });
  process.kill(paused.pid, 'SIGCONT');
  await client.closed;
  assert.ok(!client.received.some(({ cmd }) => cmd === 'puback'), 'nothing of it was acknowledged');
  await paused.waitForStatus('readyz', 200);
  assert.equal(await paused.metric('supermq_leases_lost_total'), 1);

  const again = await RawClient.connect(paused.tcp);
  again.publish('paused/a', 'after', { qos: 1, messageId: 1 });
  await again.next('puback');
  assert.equal(
    (await subscriber.messages(1))[0]?.payload,
    'after',
    'what the paused node had in its sockets was not published',
  );
  for (const edge of [paused, other]) assert.equal(await edge.stop(), 0);
});

test('a node id that is alive is not taken a second time; that of a killed node is free when its lease is over', async () => {
  const first = await startEdge({ SUPERMQ_NODE_ID: 'twin' });
  const second = await startEdge({ SUPERMQ_NODE_ID: 'twin' }, 'healthz');
  await eventually(() => second.output.includes('node.idInUse'), 'a log line');
  assert.equal(await second.status('readyz'), 503);
  await first.kill();
  await second.waitForStatus('readyz', 200);
  assert.equal(await second.stop(), 0);
  const third = await startEdge({ SUPERMQ_NODE_ID: 'twin' });
  assert.equal(await third.stop(), 0, 'a node that is stopped gives its lease back');
});

test('sessions whose owner holds no lease get the end that a close would have given them; others are left alone', async () => {
  const options = { leaseSeconds: LEASE_SECONDS };
  const [dead, alive] = [await openBackplane(nats.url, options), await openBackplane(nats.url, options)];
  const { counters, lease, sessions: store } = alive;
  assert.ok(store !== undefined && lease !== undefined && dead.lease !== undefined);
  const record = (owner: string, expirySeconds: number): Buffer =>
    encodeRecord({ ...emptyRecord, clientId: 'c', owner, expirySeconds });
  const deadOwner = dead.lease.incarnation;
  await store.save('orphan', record(deadOwner, 600), 0, 0);
  await store.save('orphan-without-expiry', record(deadOwner, 0), 0, 0);
  await store.save('served', record(lease.incarnation, 600), 0, 0);
  await dead.close();
  await poll(async () => lease.isSettled, { what: 'a settled lease', timeoutMs: 15_000 });

  const wills = { isStored: async (): Promise<boolean> => false };
  await sweepOnce({ store, lease, wills, counters, clock: systemClock, failed: (error) => assert.ifError(error) });

  const ownerOf = async (clientId: string): Promise<string | undefined> => {
    const stored = await store.load(clientId);
    return stored.record === undefined ? undefined : decodeRecord(stored.record).owner;
  };
  assert.equal(await ownerOf('orphan'), '');
  assert.equal(await ownerOf('orphan-without-expiry'), undefined);
  assert.equal(await ownerOf('served'), lease.incarnation);
  assert.equal(counters.sessionsOrphaned, 2);
  assert.equal(await lease.elect('orphans', 59), false, 'one node at a time');
  await alive.close();
});

test('a node that is cut off knows that its lease is over while the others still believe in it', async () => {
  const proxy = await TcpProxy.start(nats.port);
  const other = await openBackplane(nats.url, { leaseSeconds: LEASE_SECONDS });
  let lose = (): void => {};
  const lost = new Promise<void>((resolve) => {
    lose = resolve;
  });
  const node = await openBackplane(`nats://127.0.0.1:${proxy.port}`, {
    leaseSeconds: LEASE_SECONDS,
    leaseLost: () => lose(),
  });
  const { incarnation } = node.lease ?? { incarnation: '' };
  proxy.cut();
  const cutAt = performance.now();
  await lost;
  assert.equal(await other.lease?.isAlive(incarnation), true);
  assert.ok(performance.now() - cutAt > (LEASE_SECONDS - 2) * 1000, 'it made use of its lease');
  const isOver = async (): Promise<boolean> => (await other.lease?.isAlive(incarnation)) === false;
  await poll(isOver, { what: 'the end of the lease', timeoutMs: 20_000 });
  // On its return it has another one, and the old one stays over.
  proxy.mend();
  await poll(
    async () =>
      node.lease?.incarnation !== incarnation && (await other.lease?.isAlive(node.lease?.incarnation ?? '')) === true,
    {
      what: 'a new lease',
      timeoutMs: 20_000,
    },
  );
  assert.equal(await other.lease?.isAlive(incarnation), false);
  await node.close();
  await other.close();
  await proxy.stop();
});

test('one node leads a task as long as it says so; when it dies another one does', async () => {
  const [first, second] = [await openBackplane(nats.url), await openBackplane(nats.url)];
  assert.ok(first.lease !== undefined && second.lease !== undefined);
  const leads = (node: typeof first): Promise<boolean> => node.lease?.lead('task', 2) ?? Promise.resolve(false);
  const answers = await Promise.all([leads(first), leads(second)]);
  assert.equal(answers.filter(Boolean).length, 1);
  const [leader, follower] = answers[0] === true ? [first, second] : [second, first];
  const startedAt = performance.now();
  while (performance.now() - startedAt < 4_000) {
    assert.equal(await leads(leader), true);
    assert.equal(await leads(follower), false);
  }
  await poll(() => leads(follower), { what: 'another leader', timeoutMs: 20_000 });
  assert.equal(await leads(leader), false);
  await first.close();
  await second.close();
});

const emptyRecord: SessionRecord = {
  clientId: '',
  user: '',
  uid: 'uid',
  epoch: 1,
  owner: '',
  writes: 0,
  expirySeconds: 0,
  wills: [],
  log: '',
  subscriptions: [],
  outbound: [],
  done: [],
  inbound: [],
};
