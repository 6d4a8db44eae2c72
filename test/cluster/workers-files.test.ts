/** Files of the operator that change while several workers run: each worker has the new content, and each keeps the old one when the new is wrong. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makePasswordLine } from '../../src/auth/password-hash.ts';
import { codeFor, loggedIn, replaceFile, scratchFolder } from '../support/authentication.ts';
import { startEdge } from '../support/edge-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { startNatsServer } from '../support/nats-server.ts';
import type { EdgeProcess } from '../support/node.ts';
import type { RawClient } from '../support/raw-client.ts';

const NOT_AUTHORIZED = 0x87;
const BAD_USER_NAME_OR_PASSWORD = 0x86;
const folder = scratchFolder();
const aclFile = join(folder, 'acl.yaml');
const passwordFile = join(folder, 'users');

/** Two workers that look at both files. */
async function startWorkers(): Promise<{ edge: EdgeProcess; stop: () => Promise<void> }> {
  const nats = await startNatsServer();
  const edge = await startEdge(nats.url, {
    SUPERMQ_WORKERS: '2',
    SUPERMQ_ACL_FILE: aclFile,
    SUPERMQ_AUTH_PASSWORD_FILE: passwordFile,
    SUPERMQ_AUTH_PASSWORD_CACHE_SECONDS: '600',
  });
  const stop = async (): Promise<void> => {
    await edge.stop();
    await nats.stop();
  };
  return { edge, stop };
}

/** The workers that have said so, each as often as it has. */
function saying(edge: EdgeProcess, event: string): number[] {
  const lines = edge.wholeOutput.split('\n').filter((line) => line.includes(`"event":"${event}"`));
  return lines.map((line) => (JSON.parse(line) as { worker: number }).worker).toSorted();
}

async function areSpread(edge: EdgeProcess, each: number): Promise<void> {
  const spread = (): Promise<number[]> =>
    Promise.all([0, 1].map((worker) => edge.metric(`supermq_worker_clients_connected{worker="${worker}"}`)));
  await eventually(async () => String(await spread()) === String([each, each]), 'clients on both workers');
}

function rules(filter: string): string {
  return `- rules: [{ allow: all, filter: 'always/#' }, { allow: all, filter: '${filter}' }]\n`;
}

test('workers - rules and users that change hold for clients of all workers', async (t) => {
  writeFileSync(aclFile, rules('before/#'));
  writeFileSync(passwordFile, `${makePasswordLine('ann', 'old', [])}\n`);
  const { edge, stop } = await startWorkers();
  t.after(stop);
  const login = (password: string): Promise<RawClient> => loggedIn(edge.tcp, { username: 'ann', password });
  // One of each on each worker, as the primary deals connections out.
  const leaving = [await login('old'), await login('old')];
  await areSpread(edge, 1);
  const staying = [await login('old'), await login('old')];
  await areSpread(edge, 2);
  for (const client of leaving) assert.deepEqual(await client.subscribe('before/x', 'after/x'), [0, NOT_AUTHORIZED]);
  for (const client of staying) {
    assert.deepEqual(await client.subscribe('always/x'), [0]);
    assert.equal(await client.publishAcknowledged('before/y', 'x', 1), 0);
  }

  replaceFile(aclFile, rules('after/#'));
  await eventually(() => leaving.every(({ isClosed }) => isClosed), 'who has what is not allowed any more is closed');
  for (const client of leaving) assert.equal(await client.closingReason(), NOT_AUTHORIZED);
  await areSpread(edge, 1);
  for (const client of staying) {
    assert.equal(await client.publishAcknowledged('before/y', 'x', 1), NOT_AUTHORIZED);
    assert.equal(await client.publishAcknowledged('after/y', 'x', 1), 0);
    assert.deepEqual(await client.subscribe('before/x', 'after/x'), [NOT_AUTHORIZED, 0]);
  }
  assert.deepEqual(saying(edge, 'acl.changed'), [0, 1]);

  replaceFile(aclFile, '- rules: [{ allow: everything }]\n');
  await eventually(() => String(saying(edge, 'acl.refused')) === '0,1', 'both workers refuse what they cannot read');
  for (const client of staying) assert.equal(await client.publishAcknowledged('after/y', 'x', 1), 0);

  replaceFile(passwordFile, `${makePasswordLine('ann', 'new', [])}\n`);
  const isChanged = (): boolean => String(saying(edge, 'auth.passwordsChanged')) === '0,1';
  await eventually(isChanged, 'both workers have read the users again');
  const coming = [await login('new'), await login('new')];
  await areSpread(edge, 2);
  // Turned away by one worker after the other: an old password that was right a moment ago is remembered by none.
  for (let i = 0; i < 4; i++)
    assert.equal(await codeFor(edge.tcp, { username: 'ann', password: 'old' }), BAD_USER_NAME_OR_PASSWORD);
  await Promise.all([...staying, ...coming].map((client) => client.end()));
});
