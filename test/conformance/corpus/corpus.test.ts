/**
 * The corpus of malformed and illegal packets, and of their legal twins: each case gets exactly the reaction that the standard asks for, in one
 * piece and byte by byte. Meanwhile an observer of everything is served, and sees the legal messages only.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startNode, type TestNode } from '../../support/node.ts';
import { RawClient } from '../../support/raw-client.ts';
import { citationsOf, groups } from './groups.ts';
import { type Manner, play } from './run.ts';

const cases = groups.flatMap((group) => group.cases);

test(`the corpus has ${cases.length} cases, each with a name of its own`, () => {
  assert.ok(cases.length >= 1_500);
  const keys = groups.flatMap(({ cases: members, title }) =>
    members.map((one) => `${title}: v${one.version} ${one.name}`),
  );
  assert.deepEqual(
    keys.filter((key, index) => keys.indexOf(key) !== index),
    [],
  );
});

for (const manner of ['whole', 'split'] as const) describe(`corpus, ${manner}`, () => runCorpus(manner));

function runCorpus(manner: Manner): void {
  let node: TestNode;
  let observer: RawClient;
  let publisher: RawClient;
  let played = 0;
  const seen: string[] = [];

  /** What the observer has got so far is in `seen` afterwards, for what is published now comes behind it. */
  const observe = async (): Promise<void> => {
    publisher.publish('calm', String(++played));
    for (;;) {
      const { payload, topic } = await observer.next('publish');
      if (topic === 'calm') return assert.equal(payload.toString(), String(played));
      seen.push(JSON.stringify([topic, payload.toString()]));
    }
  };

  before(async () => {
    node = await startNode();
    observer = await RawClient.connect(node.tcp, { version: 5, keepalive: 0 });
    publisher = await RawClient.connect(node.tcp, { keepalive: 0 });
    await observer.subscribe('#');
  });

  after(async () => {
    await Promise.all([observer.end(), publisher.end()]);
    await node.stop();
  });

  for (const group of groups) {
    const ids = citationsOf(group).map((id) => `[${id}]`);
    test(`${ids.join(' ')} [C] ${group.title}, ${manner}: ${group.cases.length} cases`, async () => {
      const failures = await play(node.tcp, group.cases, manner);
      await observe();
      assert.deepEqual(failures, []);
    });
  }

  test('[MQTT5 4.13.1-1] [MQTT311 4.8.0-1] the observer has got the legal messages and no other, and no defect was counted', async () => {
    await observe();
    const expected = cases.flatMap(({ delivers }) =>
      delivers.map(({ payload, topic }) => JSON.stringify([topic, payload])),
    );
    assert.deepEqual(counted(seen), counted(expected));
    assert.equal(node.counters.internalErrors, 0);
    assert.ok(node.counters.protocolErrors > 1_000);
  });
}

/** How often each message came. */
function counted(messages: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const message of messages) counts.set(message, (counts.get(message) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}
