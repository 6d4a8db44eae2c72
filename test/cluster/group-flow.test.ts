/** Groups with QoS 1 and 2 over three nodes: shares by speed, nodes that are killed, members that come and go. Nothing is lost. */
import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { EdgeNodes } from '../support/edge-nodes.ts';
import { poll } from '../support/poll.ts';
import { type Arrival, publishNumbers, SessionClient } from '../support/session-client.ts';

const NODES = 3;
const COUNT = 20_000;
/** The ack wait is twice the lease: what a killed node held comes back after it. */
const LEASE_SECONDS = 5;
const RECEIVE_MAXIMUM = 10;
/** Ten times as long as the others: long enough that what a busy machine adds to each message changes little. */
const SLOW_MILLISECONDS = 300;

let nodes: EdgeNodes;
let serial = 0;

before(async () => {
  nodes = await EdgeNodes.start(NODES, {
    SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS),
    SUPERMQ_GROUPS_RETENTION_SECONDS: '60',
  });
});
after(async () => {
  await nodes.stop();
});

/** Another node takes its place when the test is over. */
async function killNode(index: number, t: TestContext): Promise<void> {
  t.after(() => nodes.renew(index));
  await nodes.edge(index).kill();
}

/** Works on each message for a while, on up to {@link RECEIVE_MAXIMUM} of them at a time. */
class Member {
  readonly client = new SessionClient(`member-${++serial}`);

  constructor(workMilliseconds: number) {
    this.client.acknowledges = () => workMilliseconds === 0;
    if (workMilliseconds === 0) return;
    this.client.arrived = (arrival) => void setTimeout(() => this.#finish(arrival), workMilliseconds);
  }

  async join(port: number, filter: string, qos: 1 | 2): Promise<void> {
    await this.client.connect(port, { receiveMaximum: RECEIVE_MAXIMUM });
    await this.client.subscribe(filter, qos);
  }

  #finish(arrival: Arrival): void {
    this.client.acknowledge(arrival);
  }
}

/** How often each number came, over all members. */
function countsOf(members: readonly Member[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { client } of members)
    for (const { number } of client.arrivals) counts.set(number, (counts.get(number) ?? 0) + 1);
  return counts;
}

function waitForAll(members: readonly Member[], count: number): Promise<void> {
  const check = async (): Promise<boolean> => countsOf(members).size >= count;
  return poll(check, { what: `${count} messages`, timeoutMs: 60_000 }).catch((error: Error) => {
    throw new Error(`${error.message}; ${countsOf(members).size} came`);
  });
}

async function joinAll(members: readonly Member[], filter: string, qos: 1 | 2): Promise<void> {
  await Promise.all(members.map((member, index) => member.join(nodes.portOf(index % NODES), filter, qos)));
}

async function publishAll(topic: string, from: number, to: number, qos: 1 | 2 = 1): Promise<void> {
  const publisher = await SessionClient.connect(nodes.portOf(0), `publisher-${++serial}`, { expiry: 0 });
  await publishNumbers(publisher, { topic: (number) => `${topic}/${number % 7}`, from, to, qos, window: 80 });
  await publisher.leave();
}

async function forgetAll(members: readonly Member[]): Promise<void> {
  await Promise.all(members.map(({ client }) => client.forget()));
}

test('[MQTT5 §4.8.2 handed-on] [X] [K] QoS 1, six members on three nodes, one node killed in the middle: every message reached a member, shares follow speed', async (t) => {
  const members = [SLOW_MILLISECONDS, 30, 30, 30, 30, 30].map((work) => new Member(work));
  await joinAll(members, '$share/speed/flow/#', 1);
  const survivors = [0, 1, 3, 4].flatMap((index) => members[index] ?? []);
  const half = poll(async () => countsOf(members).size > COUNT / 2, { what: 'half', timeoutMs: 60_000 });
  const publishing = publishAll('flow', 0, COUNT);
  await half;
  const [slow = 0, ...fast] = members.map(({ client }) => client.arrivals.length);
  await killNode(2, t);
  await publishing;
  await waitForAll(members, COUNT);
  t.diagnostic(`at half: ${slow} and ${fast.join(' ')}`);
  const mean = fast.reduce((sum, share) => sum + share, 0) / fast.length;
  assert.ok(slow > mean / 20 && slow < mean / 4, `${slow} of ${mean}`);
  for (const share of fast) assert.ok(share > mean * 0.75 && share < mean * 1.25, `${share} of ${mean}`);
  // Only what the killed node's clients had not acknowledged came again.
  const repeated = [...countsOf(members).values()].filter((times) => times > 1).length;
  assert.ok(repeated <= 4 * RECEIVE_MAXIMUM, `${repeated} repeated`);
  t.diagnostic(`${repeated} of ${COUNT} came twice`);
  await forgetAll(survivors);
});

test('[MQTT5 4.8.2-4] [X] [K] QoS 2, the same: every message reached one member once, those of the killed node included', async (t) => {
  const members = [0, 1, 2, 3, 4, 5].map(() => new Member(5));
  await joinAll(members, '$share/once/twice/#', 2);
  const half = poll(async () => countsOf(members).size > COUNT / 2, { what: 'half', timeoutMs: 60_000 });
  const publishing = publishAll('twice', 0, COUNT, 2);
  await half;
  await killNode(2, t);
  const moved = [2, 5].flatMap((index) => members[index] ?? []);
  await Promise.all(moved.map(({ client }) => client.closed));
  await Promise.all(
    moved.map(async ({ client }, index) => {
      await client.connect(nodes.portOf(index % NODES), { receiveMaximum: RECEIVE_MAXIMUM });
      assert.equal(client.sessionPresent, true);
    }),
  );
  await publishing;
  await waitForAll(members, COUNT);
  assert.deepEqual(
    [...countsOf(members)].filter(([, times]) => times > 1),
    [],
  );
  await forgetAll(members);
});

test('members come and go while publishing goes on, 2, 10, none, 3: nothing is lost', async () => {
  const all: Member[] = [];
  const add = async (count: number): Promise<Member[]> => {
    const added = Array.from({ length: count }, () => new Member(2));
    all.push(...added);
    await joinAll(added, '$g/scale/auto/#', 1);
    return added;
  };
  const phase = async (from: number): Promise<void> => publishAll('auto', from, from + 2_000);
  const two = await add(2);
  await phase(0);
  const growing = phase(2_000);
  const eight = await add(8);
  await growing;
  const shrinking = phase(4_000);
  // Half of them say goodbye, the rest drops off.
  await Promise.all(
    [...two, ...eight].map(({ client }, index) => (index % 2 === 0 ? client.forget() : client.abort())),
  );
  await shrinking;
  await phase(6_000);
  const three = await add(3);
  await phase(8_000);
  await waitForAll(all, 10_000);
  await forgetAll(three);
});
