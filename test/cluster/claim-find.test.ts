/** What a claim finds of a client's session is what its last holder has written, whether that was asked to yield or has just left. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Claimed, SessionStore, StoredSession } from '../../src/broker/ports.ts';
import { openBackplane } from '../support/backplane.ts';
import { claimAt } from '../support/claim-at.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';

const ROUNDS = 300;

type Node = Awaited<ReturnType<typeof openBackplane>> & { sessions: SessionStore };

let nats: NatsServerProcess;
let nodes: readonly Node[];

before(async () => {
  nats = await startNatsServer();
  nodes = await Promise.all([openNode(), openNode()]);
});
after(async () => {
  await Promise.all(nodes.map(({ close }) => close()));
  await nats.stop();
});

async function openNode(): Promise<Node> {
  const { sessions, ...others } = await openBackplane(nats.url);
  assert.ok(sessions !== undefined);
  return { ...others, sessions };
}

function node(index: number): Node {
  const found = nodes[index % nodes.length];
  assert.ok(found !== undefined);
  return found;
}

async function claim(
  index: number,
  clientId: string,
  yielded: () => Promise<void>,
  look = () => node(index).sessions.load(clientId),
): Promise<Claimed<StoredSession>> {
  const claimed = await claimAt(node(index).cluster, { clientId, yielded, look });
  assert.ok(claimed !== undefined);
  return claimed;
}

async function write(index: number, clientId: string, { revision }: StoredSession, text: string): Promise<void> {
  const written = await node(index).sessions.save(clientId, Buffer.from(text), revision, 0);
  assert.ok(written !== undefined, `${text} of ${clientId}: nobody else has written`);
}

test(`a client that goes from node to node while the other still has it, ${ROUNDS} times`, async () => {
  let before = '';
  for (let round = 0; round < ROUNDS; round++) {
    let resolveFound: (found: StoredSession) => void = () => {};
    const foundHere = new Promise<StoredSession>((resolve) => {
      resolveFound = resolve;
    });
    const text = `round ${round}`;
    const yielded = async (): Promise<void> => write(round, 'mover', await foundHere, text);
    const { found } = await claim(round, 'mover', yielded);
    const stored = await found;
    assert.equal(stored.record?.toString() ?? '', before, text);
    resolveFound(stored);
    before = text;
  }
});

test(`a client that has just left the node before, ${ROUNDS} times, and many clients at once`, async () => {
  const visit = async (clientId: string): Promise<void> => {
    for (let round = 0; round < ROUNDS / 10; round++) {
      const { claim: mine, found } = await claim(round, clientId, async () => {});
      const stored = await found;
      assert.equal(stored.record?.toString() ?? '', round === 0 ? '' : `round ${round - 1}`, clientId);
      await write(round, clientId, stored, `round ${round}`);
      mine.release();
    }
  };
  await Promise.all(Array.from({ length: 10 }, (_, index) => visit(`visitor ${index}`)));
});

test('a client that was away for longer than its subscription outlives it: found in the same round trip', async () => {
  const { sessions } = node(0);
  let looks = 0;
  const look = (): Promise<StoredSession> => {
    looks++;
    return sessions.load('alone');
  };
  const { claim: mine, found } = await claim(0, 'alone', async () => {}, look);
  assert.deepEqual(await found, { record: undefined, revision: 0 });
  assert.equal(looks, 1);
  mine.release();
  // The other node is told that somebody has just been here, so what came with the first answer does not count.
  const next = await claim(1, 'alone', async () => {}, look);
  await next.found;
  assert.equal(looks, 3);
});
