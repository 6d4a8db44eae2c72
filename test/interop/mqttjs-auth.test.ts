/** MQTT.js with SCRAM-SHA-256, against a node that runs as users run it, with a user that the command line has made. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect, type IConnackPacket, type MqttClient } from 'mqtt';
import { EdgeProcess } from '../support/node.ts';
import { METHOD, ScramClient } from '../support/scram-client.ts';

const entry = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'supermq-auth-'));
let edge: EdgeProcess;

/** What `supermq scram-user` prints for a password on standard input. */
function userLine(name: string, password: string): string {
  return execFileSync(process.execPath, [entry, 'scram-user', name], { input: password, encoding: 'utf8' });
}

before(async () => {
  const path = join(folder, 'users');
  writeFileSync(path, userLine('js', 'pencil\n') + userLine('b:js', 'ink'));
  edge = await EdgeProcess.start({ SUPERMQ_AUTH_SCRAM_FILE: path, SUPERMQ_AUTH_SCRAM_REQUIRED: 'true' });
});
after(async () => {
  await edge.stop();
  rmSync(folder, { recursive: true });
});

function open(name: string, password: string): MqttClient {
  const scram = new ScramClient(name, password);
  const client = connect(`mqtt://127.0.0.1:${edge.tcp}`, {
    protocolVersion: 5,
    reconnectPeriod: 0,
    properties: { authenticationMethod: METHOD, authenticationData: scram.first },
  });
  client.handleAuth = ({ properties }, answer) => {
    const authenticationData = scram.final(properties?.authenticationData ?? Buffer.alloc(0));
    answer(undefined, {
      cmd: 'auth',
      reasonCode: 0x18,
      properties: { authenticationMethod: METHOD, authenticationData },
    });
  };
  return client;
}

test('MQTT.js connects with SCRAM and works', async () => {
  for (const [name, password] of [
    ['js', 'pencil'],
    ['b:js', 'ink'],
  ] as const) {
    const client = open(name, password);
    const connack = await new Promise<IConnackPacket>((resolve) => client.once('connect', resolve));
    assert.equal(connack.properties?.authenticationMethod, METHOD);
    await client.subscribeAsync('js/scram', { qos: 1 });
    const message = new Promise((resolve) => client.once('message', (_, payload) => resolve(String(payload))));
    await client.publishAsync('js/scram', name, { qos: 1 });
    assert.equal(await message, name);
    await client.endAsync();
  }
});

test('MQTT.js hears that a wrong password is refused', async () => {
  const client = open('js', 'pencils');
  const error = await new Promise<Error & { code?: unknown }>((resolve) => client.once('error', resolve));
  assert.equal(error.code, 0x87);
  await client.endAsync(true);
});

test('scram-user says in a sentence what is wrong, and ends with 2', () => {
  for (const [args, input, says] of [
    [['js'], '', /no password on standard input/],
    [['#js'], 'x', /name must have/],
    [['a', 'b'], 'x', /needs the name of one user/],
  ] as const) {
    assert.throws(
      () => execFileSync(process.execPath, [entry, 'scram-user', ...args], { input, encoding: 'utf8', stdio: 'pipe' }),
      (error: Error & { status?: number; stderr?: string }) => {
        assert.equal(error.status, 2);
        assert.match(error.stderr ?? '', says);
        return true;
      },
    );
  }
});
