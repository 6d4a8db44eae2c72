/**
 * Every way to enter NATS, on real servers: the right credentials serve clients, wrong ones are told by a clear line, tried again, and never
 * shown. Credentials in files can be put right while the node runs.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { nkeys } from 'nats';
import { Authority } from '../support/authority.ts';
import { eventually } from '../support/eventually.ts';
import { makeOperator } from '../support/nats-jwt.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { RawClient } from '../support/raw-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'supermq-credentials-'));
const authority = new Authority();
const stranger = new Authority();
after(() => {
  rmSync(folder, { recursive: true });
  authority.remove();
  stranger.remove();
});

const REFUSED = /"event":"nats\.connectFailed".*NATS refuses the credentials of this node; trying again/;
const NOT_ACCEPTED =
  /nats\.connectFailed.*NATS does not answer, or does not accept the certificate of this node; trying again/;
const UNREACHED = /"event":"nats\.connectFailed".*NATS cannot be reached; trying again/;

interface Way {
  readonly title: string;
  /** Lines of the server's configuration. */
  readonly server: string;
  readonly right: Record<string, string>;
  readonly wrong: Record<string, string>;
  readonly told: RegExp;
  /** None of them may be printed. */
  readonly secrets: readonly string[];
}

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function userAndPassword(): Way {
  return {
    title: 'user and password',
    server: 'authorization { user: "ann", password: "right-hush" }',
    right: { SUPERMQ_NATS_USER: 'ann', SUPERMQ_NATS_PASSWORD: 'right-hush' },
    wrong: { SUPERMQ_NATS_USER: 'ann', SUPERMQ_NATS_PASSWORD: 'wrong-hush' },
    told: REFUSED,
    secrets: ['right-hush', 'wrong-hush'],
  };
}

function token(): Way {
  return {
    title: 'token',
    server: 'authorization { token: "right-token" }',
    right: { SUPERMQ_NATS_TOKEN: 'right-token' },
    wrong: { SUPERMQ_NATS_TOKEN: 'wrong-token' },
    told: REFUSED,
    secrets: ['right-token', 'wrong-token'],
  };
}

function nkey(): Way {
  const [right, wrong] = [nkeys.createUser(), nkeys.createUser()];
  const seeds = [right, wrong].map((pair) => new TextDecoder().decode(pair.getSeed()));
  return {
    title: 'nkey',
    server: `authorization { users: [{ nkey: ${right.getPublicKey()} }] }`,
    right: { SUPERMQ_NATS_NKEY_SEED_FILE: file('right.nk', `${seeds[0]}\n`) },
    wrong: { SUPERMQ_NATS_NKEY_SEED_FILE: file('wrong.nk', `${seeds[1]}`) },
    told: REFUSED,
    secrets: seeds,
  };
}

function creds(): Way {
  const operator = makeOperator();
  const [right, wrong] = [operator.creds(), makeOperator().creds()];
  return {
    title: 'creds',
    server: operator.serverConfig,
    right: { SUPERMQ_NATS_CREDS_FILE: file('right.creds', right.file) },
    wrong: { SUPERMQ_NATS_CREDS_FILE: file('wrong.creds', wrong.file) },
    told: REFUSED,
    secrets: [right.seed, right.jwt, wrong.seed, wrong.jwt],
  };
}

function certificates(): Way {
  const [server, client, foreign] = [authority.issue('nats'), authority.issue('edge'), stranger.issue('edge')];
  return {
    title: 'certificates of an authority of our own, on both sides',
    server: `tls { cert_file: "${server.cert}", key_file: "${server.key}", ca_file: "${authority.cert}", verify: true }`,
    right: {
      SUPERMQ_NATS_TLS_CA: authority.cert,
      SUPERMQ_NATS_TLS_CERT: client.cert,
      SUPERMQ_NATS_TLS_KEY: client.key,
    },
    wrong: {
      SUPERMQ_NATS_TLS_CA: authority.cert,
      SUPERMQ_NATS_TLS_CERT: foreign.cert,
      SUPERMQ_NATS_TLS_KEY: foreign.key,
    },
    told: NOT_ACCEPTED,
    secrets: ['PRIVATE KEY'],
  };
}

for (const { right, secrets, server, title, told, wrong } of [
  userAndPassword(),
  token(),
  nkey(),
  creds(),
  certificates(),
]) {
  test(`NATS credentials - ${title}`, async () => {
    const nats = await startNatsServer({ extraConfig: server });
    const env = { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LOG_LEVEL: 'trace' };
    const refused = await EdgeProcess.start({ ...env, ...wrong }, 'healthz');
    const hasTriedTwice = async (): Promise<boolean> => refused.wholeOutput.split('nats.connectFailed').length > 2;
    await poll(hasTriedTwice, { what: 'a second attempt', timeoutMs: 25_000 });
    assert.match(refused.wholeOutput, told);
    assert.equal(await refused.status('readyz'), 503);
    const edge = await EdgeProcess.start({ ...env, ...right });
    const client = await RawClient.connect(edge.tcp, { version: 5 });
    assert.equal(await client.publishAcknowledged('a', 'b', 1), 0);
    await client.end();
    for (const node of [refused, edge]) {
      assert.equal(await node.stop(), 0);
      for (const secret of secrets) assert.ok(!node.wholeOutput.includes(secret), `${title}: a secret was printed`);
    }
    await nats.stop();
  });
}

test('NATS credentials - a server whose authority is another one is not trusted', async () => {
  const server = stranger.issue('nats');
  const nats = await startNatsServer({ extraConfig: `tls { cert_file: "${server.cert}", key_file: "${server.key}" }` });
  const edge = await EdgeProcess.start(
    { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_NATS_TLS_CA: authority.cert },
    'healthz',
  );
  await eventually(() => UNREACHED.test(edge.wholeOutput), 'the refusal');
  assert.match(edge.wholeOutput, /certificate/i);
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});

test('NATS credentials - a creds file that is replaced while the node waits, or while it serves, is the one that counts; a broken one is not', async () => {
  const operator = makeOperator();
  const path = file('changing.creds', makeOperator().creds().file);
  const nats = await startNatsServer({ extraConfig: operator.serverConfig });
  const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_NATS_CREDS_FILE: path }, 'healthz');
  await eventually(() => REFUSED.test(edge.wholeOutput), 'a refusal');
  const SECONDS = 6;
  writeFileSync(path, operator.creds(SECONDS).file);
  await edge.waitForStatus('readyz', 200);
  writeFileSync(path, operator.creds().file);
  // The server ends the connection when the first credentials end.
  const reconnects = (): number => edge.wholeOutput.split('"nats.reconnected"').length - 1;
  const connections = 2;
  await eventually(() => reconnects() >= connections, 'the new credentials in use');
  await edge.waitForStatus('readyz', 200);
  // Half written, or not what it should be: the node goes on with those before, which still hold.
  writeFileSync(path, 'nothing of use');
  const before = reconnects();
  await nats.restart();
  await eventually(() => reconnects() >= before + connections, 'the old credentials in use');
  await edge.waitForStatus('readyz', 200);
  assert.equal(await edge.stop(), 0);
  await nats.stop();
});
