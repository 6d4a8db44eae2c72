/** mosquitto_pub, mosquitto_sub and MQTT.js with user names, passwords and tokens, against a node that runs as users run it. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SignJWT } from 'jose';
import { connect, connectAsync } from 'mqtt';
import { scratchFolder } from '../support/authentication.ts';
import { EdgeProcess } from '../support/node.ts';
import { mosquitto } from './clients/mosquitto.ts';

const entry = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const folder = scratchFolder();
const secret = 'a secret of more than thirty-two bytes';
let edge: EdgeProcess;

/** What `supermq password-user` prints for a password on standard input. */
function userLine(args: readonly string[], password: string): string {
  return execFileSync(process.execPath, [entry, 'password-user', ...args], { input: password, encoding: 'utf8' });
}

before(async () => {
  writeFileSync(join(folder, 'users'), userLine(['ann', 'staff'], 'pencil\n') + userLine(['b en'], 'ink'));
  writeFileSync(join(folder, 'secret'), secret);
  edge = await EdgeProcess.start({
    SUPERMQ_AUTH_PASSWORD_FILE: join(folder, 'users'),
    SUPERMQ_AUTH_JWT_SECRET_FILE: join(folder, 'secret'),
  });
});
after(() => edge.stop());

/** Exit code and error text of mosquitto_pub. */
function publish(version: string, ...login: string[]): { status: number | null; stderr: string } {
  const args = ['-h', '127.0.0.1', '-p', String(edge.tcp), '-V', version, '-q', '1', '-t', 'a', '-m', 'x', ...login];
  const { status, stderr } = spawnSync('mosquitto_pub', args, { encoding: 'utf8', timeout: 30_000 });
  return { status, stderr };
}

test('mosquitto_pub -u -P is let in with the right password only', { skip: mosquitto.missing ?? false }, () => {
  for (const version of ['mqttv31', 'mqttv311', 'mqttv5']) {
    assert.equal(publish(version, '-u', 'ann', '-P', 'pencil').status, 0, version);
    assert.equal(publish(version, '-u', 'b en', '-P', 'ink').status, 0, version);
    const wrong = publish(version, '-u', 'ann', '-P', 'ink');
    assert.notEqual(wrong.status, 0, version);
    assert.match(wrong.stderr, /bad user name or password|not authori[sz]ed/i, version);
    assert.notEqual(publish(version).status, 0, version);
  }
});

test('MQTT.js connects with a password or a token, and hears what is wrong', async () => {
  const url = `mqtt://127.0.0.1:${edge.tcp}`;
  const token = await new SignJWT({ sub: 'tom' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1 minute')
    .sign(Buffer.from(secret));
  for (const [username, password] of [
    ['ann', 'pencil'],
    ['tom', token],
  ] as const) {
    const client = await connectAsync(url, { protocolVersion: 5, username, password, reconnectPeriod: 0 });
    await client.publishAsync('a', 'x', { qos: 1 });
    await client.endAsync();
  }
  for (const [protocolVersion, code] of [
    [5, 0x86],
    [4, 4],
  ] as const) {
    const client = connect(url, { protocolVersion, username: 'ann', password: 'ink', reconnectPeriod: 0 });
    const error = await new Promise<Error & { code?: unknown }>((resolve) => client.once('error', resolve));
    assert.equal(error.code, code);
    await client.endAsync(true);
  }
});

test('password-user says in a sentence what is wrong, and ends with 2', () => {
  for (const [args, input, says] of [
    [['ann'], '', /no password on standard input/],
    [['#ann'], 'x', /name must have/],
    [['ann', 'a b'], 'x', /group is of/],
    [[], 'x', /needs the name of one user/],
    [['ann'], '\n', /password must have/],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [entry, 'password-user', ...args], {
      input,
      encoding: 'utf8',
    });
    assert.equal(status, 2);
    assert.match(stderr, says);
  }
});
