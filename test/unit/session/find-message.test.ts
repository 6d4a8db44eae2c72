/** session/find-message.ts: when the log is asked, from where, and whose word counts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findMessage } from '../../../src/session/find-message.ts';
import { FakeLog } from '../../support/fake-log.ts';

const MINUTE = 60_000;

function logWith(...ids: readonly string[]): FakeLog {
  const log = new FakeLog();
  for (const messageId of ids) log.append('t', { qos: 2, messageId });
  return log;
}

test('find message - younger than the duplicate window of the log: not asked, it will recognise the id itself', async () => {
  const log = logWith('mine');
  const at = log.time;
  log.time += MINUTE - 1;
  assert.equal(await findMessage(log, 't', { packetId: 1, messageId: 'mine', position: 0, at }), 0);
  assert.deepEqual([log.asked.read, log.asked.readNext], [0, 0]);
});

test('find message - older: found by id on its topic, at or behind the position at which it came', async () => {
  const log = logWith('a', 'mine', 'b');
  const at = log.time;
  log.time += 10 * MINUTE;
  const find = (messageId: string, position: number, topic = 't'): Promise<number> =>
    findMessage(log, topic, { packetId: 1, messageId, position, at });
  assert.equal(await find('mine', 0), 2);
  assert.equal(await find('mine', 1), 2);
  assert.equal(await find('mine', 2), 0, 'from before it came');
  assert.equal(await find('other', 0), 0);
  assert.equal(await find('mine', 0, 'elsewhere'), 0);
});

test('find message - over many pages', async () => {
  const log = logWith(...Array.from({ length: 1_000 }, (_, index) => `id ${index}`));
  const at = log.time;
  log.time += 10 * MINUTE;
  assert.equal(await findMessage(log, 't', { packetId: 1, messageId: 'id 999', position: 0, at }), 1_000);
  assert.ok(log.asked.read >= 4);
  assert.equal(await findMessage(log, 't', { packetId: 1, messageId: 'none', position: 0, at }), 0);
});

test('find message - the silence of a replica is no answer: the leader has the last word', async () => {
  const log = logWith('a', 'b', 'mine');
  const at = log.time;
  log.time += 10 * MINUTE;
  log.replicaHas = 1;
  assert.equal(await findMessage(log, 't', { packetId: 1, messageId: 'mine', position: 0, at }), 3);
  assert.ok(log.asked.readNext > 0);
});

test('find message - a log that does not answer is no answer either', async () => {
  const log = logWith('mine');
  const at = log.time;
  log.time += 10 * MINUTE;
  log.gate = async () => {
    throw new Error('away');
  };
  await assert.rejects(findMessage(log, 't', { packetId: 1, messageId: 'mine', position: 0, at }), /away/);
});
