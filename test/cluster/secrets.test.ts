/**
 * Nothing that a node says contains a secret: not its log at level trace, not its metrics, not what it tells clients, not the printed
 * configuration, neither when all goes well nor when it does not.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeUserLine } from '../../src/auth/scram-credentials.ts';
import { eventually } from '../support/eventually.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { runCommand } from '../support/privileged-nats.ts';
import { RawClient } from '../support/raw-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'supermq-secrets-'));
after(() => rmSync(folder, { recursive: true }));

/** Secrets of this run, as they are and as a careless line would have them. */
const secrets = Object.fromEntries(
  ['natsPassword', 'wrongPassword', 'token', 'clientPassword', 'scramPassword', 'payload', 'authenticationData'].map(
    (name) => [name, `hush-${randomUUID()}`],
  ),
) as Record<
  'natsPassword' | 'wrongPassword' | 'token' | 'clientPassword' | 'scramPassword' | 'payload' | 'authenticationData',
  string
>; // the names above
const hidden = Object.entries(secrets).flatMap(([name, value]) =>
  [
    value,
    Buffer.from(value).toString('base64').slice(0, -4),
    Buffer.from(value).toString('hex'),
    [...Buffer.from(value)].join(','),
  ].map((form) => [name, form] as const),
);

function check(said: string, where: string): void {
  assert.ok(said.length > 0, `${where} says nothing`);
  for (const [name, form] of hidden) assert.ok(!said.includes(form), `${where} shows ${name}`);
}

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** Connects in every way that carries a secret; returns what the node told the clients. */
async function useSecrets(edge: EdgeProcess): Promise<string> {
  const told: unknown[] = [];
  for (const version of [3, 4, 5] as const) {
    const will = { topic: `will/${version}`, payload: Buffer.from(secrets.payload), qos: 1 as const, retain: false };
    const client = await RawClient.connect(edge.tcp, {
      version,
      clientId: `v${version}`,
      username: 'ann',
      password: Buffer.from(secrets.clientPassword),
      will,
    });
    await client.subscribe({ topic: `own/${version}`, qos: 1 });
    client.publish('a', secrets.payload);
    await client.publishAcknowledged('a', secrets.payload, 1);
    told.push(client.connack);
    // A protocol error, with the secret in the packet that is refused.
    client.send(Buffer.concat([Buffer.from([0x3f, secrets.payload.length]), Buffer.from(secrets.payload)]));
    await client.closed;
    told.push(...client.received);
  }
  const client = await RawClient.open(edge.tcp, 5);
  const properties = {
    authenticationMethod: 'SCRAM-SHA-256',
    authenticationData: Buffer.from(`n,,n=ann,r=${secrets.authenticationData}`),
  };
  client.send({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: true,
    clientId: 'scram',
    keepalive: 0,
    properties,
  });
  // The nonce comes back in the challenge: SCRAM wants it so. It is the one thing told.
  await client.next('auth');
  client.send({
    cmd: 'auth',
    reasonCode: 0x18,
    properties: {
      ...properties,
      authenticationData: Buffer.from(`c=biws,r=${secrets.authenticationData},p=${secrets.scramPassword}`),
    },
  });
  await client.closed;
  told.push(...client.received);
  return JSON.stringify(told);
}

test('secrets - a working start and its clients', async () => {
  const nats = await startNatsServer({
    extraConfig: `authorization { user: "ann", password: "${secrets.natsPassword}" }`,
  });
  const edge = await EdgeProcess.start({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_USER: 'ann',
    SUPERMQ_NATS_PASSWORD_FILE: file('password', `${secrets.natsPassword}\n`),
    SUPERMQ_AUTH_SCRAM_FILE: file('users', `${makeUserLine('ann', secrets.scramPassword)}\n`),
    SUPERMQ_LOG_LEVEL: 'trace',
  });
  check(await useSecrets(edge), 'a packet to a client');
  check(await (await fetch(`http://127.0.0.1:${edge.http}/metrics`)).text(), '/metrics');
  await nats.restart();
  await eventually(() => edge.wholeOutput.includes('nats.reconnected'), 'the connection back');
  assert.equal(await edge.stop(), 0);
  check(edge.wholeOutput, 'the log');
  await nats.stop();
});

test('secrets - NATS that refuses them, and files that cannot be used', async () => {
  const nats = await startNatsServer({
    extraConfig: `authorization { user: "ann", password: "${secrets.natsPassword}" }`,
  });
  const env = { SUPERMQ_NATS_SERVERS: nats.url, SUPERMQ_LOG_LEVEL: 'trace' };
  const refused = await EdgeProcess.start(
    { ...env, SUPERMQ_NATS_USER: 'ann', SUPERMQ_NATS_PASSWORD: secrets.wrongPassword },
    'healthz',
  );
  await eventually(() => refused.wholeOutput.includes('nats.connectFailed'), 'the refusal');
  assert.equal(await refused.stop(), 0);
  check(refused.wholeOutput, 'the log of a refused node');
  for (const creds of [
    secrets.token,
    `-----BEGIN NATS USER JWT-----\n${secrets.token}\n------END NATS USER JWT------\n`,
  ]) {
    const broken = await EdgeProcess.start({ ...env, SUPERMQ_NATS_CREDS_FILE: file('broken.creds', creds) }, 'healthz');
    await eventually(() => broken.wholeOutput.includes('nats.connectFailed'), 'the mistake');
    assert.equal(await broken.stop(), 0);
    check(broken.wholeOutput, 'the log of a node with broken creds');
  }
  await nats.stop();
});

test('secrets - a configuration that is printed or wrong', async () => {
  const env = {
    SUPERMQ_NATS_SERVERS: 'nats://127.0.0.1:1',
    SUPERMQ_NATS_USER: 'ann',
    SUPERMQ_NATS_PASSWORD: secrets.natsPassword,
  };
  const printed = await runCommand(['--print-config'], env);
  assert.equal(printed.code, 0);
  assert.match(printed.output, /password: "?\[redacted\]/);
  check(printed.output, '--print-config');
  for (const wrong of [
    { SUPERMQ_NATS_TOKEN: secrets.token },
    { SUPERMQ_NATS_SERVERS: `nats://ann:${secrets.natsPassword}@127.0.0.1` },
    { SUPERMQ_CONFIG: file('list.yaml', `nats:\n  password: [${secrets.natsPassword}]\n`) },
    { SUPERMQ_CONFIG: file('broken.yaml', `nats:\n  password: *${secrets.natsPassword}\n`) },
    { SUPERMQ_NATS_PASSWORD_FILE: file('twice', secrets.natsPassword) },
  ]) {
    const { code, output } = await runCommand([], { ...env, ...wrong });
    assert.equal(code, 2, output);
    check(output, 'the refusal of a configuration');
  }
});
