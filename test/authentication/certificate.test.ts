/** Clients that are known by their certificate, over real TLS with an authority of the test's own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import mqttPacket, { type IConnackPacket } from 'mqtt-packet';
import { makePasswordLine } from '../../src/auth/password-hash.ts';
import { systemClock } from '../../src/clock.ts';
import { alternativeNames } from '../../src/transport/certificate.ts';
import { keptLog, nodeFor, scratchFolder } from '../support/authentication.ts';
import { freePort } from '../support/ports.ts';
import { connectPacket } from '../support/raw-client.ts';

const folder = scratchFolder();
const at = (name: string): string => join(folder, name);

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' });
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** A certificate of the authority, with its key. */
function certify(name: string, subject: string, names: string): void {
  openssl('req', ...newKey, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`), '-subj', subject);
  writeFileSync(at(`${name}.ext`), names === '' ? 'keyUsage=digitalSignature\n' : `subjectAltName=${names}\n`);
  const signing = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2'];
  openssl(
    'x509',
    '-req',
    '-in',
    at(`${name}.csr`),
    ...signing,
    '-extfile',
    at(`${name}.ext`),
    '-out',
    at(`${name}.pem`),
  );
}

openssl(
  'req',
  '-x509',
  ...newKey,
  '-keyout',
  at('ca.key'),
  '-out',
  at('ca.pem'),
  '-subj',
  '/CN=authority',
  '-days',
  '2',
);
certify('server', '/CN=localhost', 'DNS:localhost');
certify('pump', '/CN=pump 7', 'DNS:pump7.plant,DNS:pump.plant,URI:urn:pump:7,email:pump@plant');
certify('bare', '/O=plant', '');

interface Login {
  readonly username?: string;
  readonly password?: Buffer;
}

/** The reason code for a client that shows this certificate. */
async function codeWith(port: number, certificate: string, login: Login = {}): Promise<number | undefined> {
  const [ca, cert, key] = ['ca.pem', `${certificate}.pem`, `${certificate}.key`].map((name) => readFileSync(at(name)));
  const socket: TLSSocket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, cert, key } as object);
  const parser = mqttPacket.parser({ protocolVersion: 5 });
  socket.on('data', (chunk) => parser.parse(chunk));
  const gone = new AbortController();
  socket.on('error', () => {}); // 'close' comes too
  socket.on('close', () => gone.abort());
  const connack = once(parser, 'packet', { signal: gone.signal });
  socket.write(mqttPacket.generate(connectPacket({ version: 5, ...login })));
  const [{ reasonCode }] = (await connack) as [IConnackPacket];
  socket.destroy();
  return reasonCode;
}

async function tlsEnvironment(username: string): Promise<Record<string, string>> {
  return {
    SUPERMQ_MQTT_TLS_PORT: String(await freePort()),
    SUPERMQ_TLS_CERT: at('server.pem'),
    SUPERMQ_TLS_KEY: at('server.key'),
    SUPERMQ_TLS_CA: at('ca.pem'),
    SUPERMQ_AUTH_CERTIFICATE_USERNAME: username,
  };
}

test('certificate - the common name or an alternative name is the user, whatever password comes with it', async (t) => {
  for (const [field, name] of [
    ['cn', 'pump 7'],
    ['dns', 'pump7.plant'],
    ['uri', 'urn:pump:7'],
    ['email', 'pump@plant'],
  ] as const) {
    const node = await nodeFor(t, await tlsEnvironment(field));
    const { tls = 0 } = node.ports;
    assert.equal(await codeWith(tls, 'pump'), 0, field);
    assert.equal(await codeWith(tls, 'pump', { username: name, password: Buffer.from('x') }), 0, `${field} is ${name}`);
    assert.equal(await codeWith(tls, 'pump', { username: 'pump 8' }), 0x86, 'another name is not proved by it');
    assert.equal(await codeWith(tls, 'bare'), 0x87, 'nobody is named');
    assert.equal(node.counters.authentications.certificate.accepted, 2);
    await node.stop();
  }
});

test('certificate - a client on a port without TLS has none, and one of another authority does not get so far', async (t) => {
  const { log, text } = keptLog();
  const node = await nodeFor(t, await tlsEnvironment('cn'), systemClock, log);
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    at('own.key'),
    '-out',
    at('own.pem'),
    '-subj',
    '/CN=pump 7',
    '-days',
    '2',
  );
  await assert.rejects(codeWith(node.ports['tls'] ?? 0, 'own'), { name: 'AbortError' });
  assert.equal(node.counters.connectsAccepted, 0);
  assert.equal(text().includes('PRIVATE KEY'), false);
});

test('certificate - who names another user is left to the passwords', async (t) => {
  writeFileSync(at('users'), `${makePasswordLine('ann', 'pencil', [])}\n`);
  const node = await nodeFor(t, { ...(await tlsEnvironment('cn')), SUPERMQ_AUTH_PASSWORD_FILE: at('users') });
  const { tls = 0 } = node.ports;
  assert.equal(await codeWith(tls, 'pump', { username: 'ann', password: Buffer.from('pencil') }), 0);
  assert.equal(await codeWith(tls, 'pump', { username: 'ann', password: Buffer.from('ink') }), 0x86);
  assert.equal(await codeWith(tls, 'pump'), 0);
  assert.equal(node.counters.authentications.password.accepted, 1);
});

test('certificate - names that look like several stay one', () => {
  assert.deepEqual(alternativeNames('DNS:a, URI:b, email:c, IP Address:127.0.0.1, DNS:d'), {
    dns: ['a', 'd'],
    uri: ['b'],
    email: ['c'],
  });
  assert.deepEqual(alternativeNames('DNS:"a, DNS:root", URI:"x\\u0000\\"y"'), {
    dns: ['a, DNS:root'],
    uri: ['x\0"y'],
    email: [],
  });
  assert.deepEqual(alternativeNames(''), { dns: [], uri: [], email: [] });
});
