/** The file of SCRAM's users as two nodes read it: what a stranger is told of names without a user. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EdgeProcess } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { METHOD, ScramClient } from '../support/scram-client.ts';

const entry = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'supermq-scram-'));
const path = join(folder, 'users');
const WARNING = /"event":"auth\.scramWithoutSecret"/;

after(() => rmSync(folder, { recursive: true }));

function supermq(args: readonly string[], input = ''): string {
  return execFileSync(process.execPath, [entry, ...args], { input, encoding: 'utf8' });
}

/** Salt and iterations that a node tells who begins to authenticate. */
async function told(edge: EdgeProcess, name: string): Promise<string> {
  const client = await RawClient.open(edge.tcp, 5);
  const authenticationData = new ScramClient(name, '').first;
  client.send(connectPacket({ version: 5, properties: { authenticationMethod: METHOD, authenticationData } }));
  const { properties } = await client.next('auth');
  await client.abort();
  return /,(s=.*)$/.exec(String(properties?.authenticationData))?.[1] ?? '';
}

/** What two nodes with this file tell of a user and of nobody, and whether they warn. */
async function twoNodes(file: string): Promise<{ user: string[]; nobody: string[]; warns: boolean[] }> {
  writeFileSync(path, file);
  const start = (): Promise<EdgeProcess> => EdgeProcess.start({ SUPERMQ_AUTH_SCRAM_FILE: path });
  const edges = await Promise.all([start(), start()]);
  try {
    const user = await Promise.all(edges.map((edge) => told(edge, 'ann')));
    const nobody = await Promise.all(edges.map((edge) => told(edge, 'nobody')));
    return { user, nobody, warns: edges.map(({ wholeOutput }) => WARNING.test(wholeOutput)) };
  } finally {
    await Promise.all(edges.map((edge) => edge.stop()));
  }
}

test('two nodes whose file has a secret tell the same of a name without a user, as of one with', async () => {
  const { nobody, user, warns } = await twoNodes(supermq(['scram-user', 'ann'], 'pencil') + supermq(['scram-secret']));
  assert.equal(user[0], user[1]);
  assert.equal(nobody[0], nobody[1]);
  assert.notEqual(nobody[0], user[0]);
  assert.match(nobody[0] ?? '', /^s=[\w+/]{22}==,i=15000$/);
  assert.deepEqual(warns, [false, false]);
});

test('without a secret they tell two things of such a name, and warn at the start', async () => {
  const { nobody, user, warns } = await twoNodes(supermq(['scram-user', 'ann'], 'pencil'));
  assert.equal(user[0], user[1]);
  assert.notEqual(nobody[0], nobody[1]);
  assert.deepEqual(warns, [true, true]);
});
