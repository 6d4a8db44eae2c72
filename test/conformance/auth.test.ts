/** AUTH and enhanced authentication (MQTT 5 sections 3.15 and 4.12) on embedded nodes, through real sockets. */
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import mqttPacket, { type IAuthPacket, type IConnackPacket, type Packet } from 'mqtt-packet';
import { deriveCredentials, formatUserLine, ScramError } from '../../src/auth/scram-credentials.ts';
import { systemClock } from '../../src/clock.ts';
import { makeLog } from '../../src/log.ts';
import { startDeployment, testEmbedded, testOneNode } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { type ConnectFields, connectPacket, RawClient } from '../support/raw-client.ts';
import { METHOD, ScramClient } from '../support/scram-client.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';
import { packet, property, props } from '../unit/mqtt/bytes.ts';

const folder = mkdtempSync(join(tmpdir(), 'supermq-auth-'));
const usersFile = join(folder, 'users');

function line(name: string, password: string): string {
  return `${formatUserLine(name, deriveCredentials(password, Buffer.from(`the salt of ${name}`), 4096))}\n`;
}
const users = `# users\n${line('ann', 'pencil')}${line('ben', 'ink')}`;

/** Replaces a file as an operator should: it is never seen half written. */
function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

let node: TestNode;
/** Knows no method. */
let open: TestNode;
/** Wants a method of everybody. */
let strict: TestNode;
/** Of the strict one. */
const clock = new ShiftedClock();
before(async () => {
  writeFileSync(usersFile, users);
  const env = { SUPERMQ_AUTH_SCRAM_FILE: usersFile };
  [node, open, strict] = await Promise.all([
    startDeployment(env),
    startDeployment(),
    startDeployment(
      { ...env, SUPERMQ_AUTH_SCRAM_REQUIRED: 'true', SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '20' },
      clock,
    ),
  ]);
});
after(async () => {
  await Promise.all([node, open, strict].map((each) => each.stop()));
  rmSync(folder, { recursive: true });
});

function connect(data?: Buffer, { properties, ...fields }: ConnectFields = {}): Buffer {
  const authenticationData = data === undefined ? {} : { authenticationData: data };
  const all = { authenticationMethod: METHOD, ...authenticationData, ...properties };
  const connectFields = connectPacket({ version: 5, ...fields, properties: all });
  return mqttPacket.generate(connectFields, { protocolVersion: 5 });
}

function auth(reasonCode: number, data?: Buffer, method = METHOD): Buffer {
  const authenticationData = data === undefined ? [] : [property.authenticationData(data)];
  return packet(0xf0, reasonCode, props(property.authenticationMethod(method), ...authenticationData));
}

function dataOf({ properties }: IAuthPacket | IConnackPacket): Buffer {
  return properties?.authenticationData ?? Buffer.alloc(0);
}

interface Begun {
  readonly client: RawClient;
  readonly scram: ScramClient;
  /** The challenge of the server. */
  readonly challenge: IAuthPacket;
}

/** CONNECT with the first message, up to the challenge. */
async function begin(name = 'ann', password = 'pencil', fields: ConnectFields = {}, port = node.tcp): Promise<Begun> {
  const scram = new ScramClient(name, password);
  const client = await RawClient.open(port, 5);
  client.send(connect(scram.first, fields));
  return { client, scram, challenge: await client.next('auth') };
}

/** A whole CONNECT with SCRAM; the CONNACK may say anything. */
async function authenticate(
  name?: string,
  password?: string,
  fields?: ConnectFields,
  port?: number,
): Promise<Begun & { readonly connack: IConnackPacket }> {
  const begun = await begin(name, password, fields, port);
  begun.client.send(auth(0x18, begun.scram.final(dataOf(begun.challenge))));
  return { ...begun, connack: await begun.client.next('connack') };
}

/** Authenticates and is accepted. */
async function connected(name?: string, password?: string, fields?: ConnectFields): Promise<RawClient> {
  const { client, connack } = await authenticate(name, password, fields);
  assert.equal(connack.reasonCode, 0);
  return client;
}

/** The code of the CONNACK that is the only packet that comes before the connection is closed. */
async function refusal(client: RawClient): Promise<number | undefined> {
  await client.closed;
  const [connack, ...others] = client.received;
  assert.deepEqual(others, []);
  return connack?.cmd === 'connack' ? connack.reasonCode : undefined;
}

/** The code of the CONNACK that answers these bytes. */
async function refusalOf(...bytes: Buffer[]): Promise<number | undefined> {
  const client = await RawClient.open(node.tcp, 5);
  client.send(Buffer.concat(bytes));
  return refusal(client);
}

test('[MQTT5 4.12.0-2] [MQTT5 4.12.0-3] [MQTT5 4.12.0-5] [MQTT5 3.15.2-1] SCRAM: AUTH 0x18 to and fro, then CONNACK; both sides have proved themselves and the method is in each', async () => {
  const { challenge, client, connack, scram } = await authenticate();
  assert.equal(challenge.reasonCode, 0x18);
  assert.equal(challenge.properties?.authenticationMethod, METHOD);
  assert.equal(connack.reasonCode, 0);
  assert.equal(connack.properties?.authenticationMethod, METHOD);
  assert.ok(scram.isProvedBy(dataOf(connack)));
  assert.deepEqual(await client.subscribe('a'), [0]);
  await client.end();
});

test('[MQTT5 §4.12] a client that names the method without data is asked for it', async () => {
  const client = await RawClient.open(node.tcp, 5);
  client.send(connect());
  const asked = await client.next('auth');
  assert.equal(asked.reasonCode, 0x18);
  assert.equal(dataOf(asked).length, 0);
  const scram = new ScramClient('ben', 'ink');
  client.send(auth(0x18, scram.first));
  client.send(auth(0x18, scram.final(dataOf(await client.next('auth')))));
  assert.equal((await client.next('connack')).reasonCode, 0);
  await client.end();
});

test('[MQTT5 4.12.0-1] a method that is not supported gets 0x8C, and the connection is closed', async () => {
  for (const { tcp } of [node, open]) {
    for (const authenticationMethod of ['SCRAM-SHA-1', 'scram-sha-256', '', ...(tcp === open.tcp ? [METHOD] : [])]) {
      const client = await RawClient.open(tcp, 5);
      client.send(connect(undefined, { properties: { authenticationMethod } }));
      assert.equal(await refusal(client), 0x8c, authenticationMethod);
    }
  }
});

testOneNode(
  '[MQTT5 4.12.0-4] [MQTT5 3.1.4-2] a wrong password and an unknown user get 0x87, and nothing tells them apart',
  async () => {
    const seen: Packet[][] = [];
    for (const name of ['ann', 'nobody']) {
      const { challenge, client, scram } = await begin(name, 'wrong');
      const { challenge: again, client: other } = await begin(name, 'wrong');
      const salts = [challenge, again].map((each) => /,(s=.*)/.exec(dataOf(each).toString())?.[1]);
      assert.equal(salts[0], salts[1], 'the same salt every time');
      client.send(auth(0x18, scram.final(dataOf(challenge))));
      const connack = await client.next('connack');
      assert.equal(connack.reasonCode, 0x87);
      await client.closed;
      seen.push([connack, ...client.received]);
      await other.abort();
    }
    assert.deepEqual(seen[0], seen[1]);
  },
);

test('[MQTT5 4.12.0-4] data that is no SCRAM gets 0x82 at each step, channel binding 0x87', async () => {
  assert.equal(await refusalOf(connect(Buffer.from('hello'))), 0x82);
  assert.equal(await refusalOf(connect(Buffer.from('p=tls-unique,,n=ann,r=abc'))), 0x87);
  const { client } = await begin();
  client.send(auth(0x18, Buffer.from('hello')));
  assert.equal(await refusal(client), 0x82);
});

test('[MQTT5 4.12.0-5] AUTH with another method than CONNECT gets 0x82', async () => {
  const { challenge, client, scram } = await begin();
  client.send(auth(0x18, scram.final(dataOf(challenge)), 'SCRAM-SHA-1'));
  assert.equal(await refusal(client), 0x82);
});

test('[MQTT5 4.12.0-6] without a method in CONNECT there is neither AUTH nor a method in CONNACK', async () => {
  const client = await RawClient.connect(node.tcp, { version: 5 });
  assert.equal(client.connack.reasonCode, 0);
  assert.equal(client.connack.properties?.authenticationMethod, undefined);
  await client.ping();
  assert.deepEqual(client.taken('auth'), []);
  await client.end();
});

test('[MQTT5 4.12.0-7] without a method in CONNECT an AUTH of the client is answered with DISCONNECT 0x82', async () => {
  for (const reasonCode of [0x18, 0x19]) {
    const client = await RawClient.connect(node.tcp, { version: 5 });
    client.send(auth(reasonCode, new ScramClient('ann', 'pencil').first));
    assert.equal(await client.closingReason(), 0x82);
  }
});

describe('[MQTT5 3.1.2-30] until CONNACK only AUTH and DISCONNECT are accepted', () => {
  const publish: Packet = { cmd: 'publish', topic: 'early', payload: 'x', qos: 0, dup: false, retain: false };
  const others: Packet[] = [
    publish,
    { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] },
    { cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['a'] },
    { cmd: 'pingreq' },
    { cmd: 'puback', messageId: 1, reasonCode: 0 },
    connectPacket({ version: 5 }),
  ];
  for (const other of others) {
    test(`${other.cmd} gets 0x82, between two AUTH and right behind CONNECT`, async () => {
      const { client } = await begin();
      client.send(other);
      assert.equal(await refusal(client), 0x82);
      const bytes = mqttPacket.generate(other, { protocolVersion: 5 });
      assert.equal(await refusalOf(connect(new ScramClient('ann', 'pencil').first), bytes), 0x82);
    });
  }

  test('a PUBLISH that came too early is delivered to nobody', async () => {
    const watcher = await RawClient.connect(node.tcp, { version: 5 });
    await watcher.subscribe('early');
    const { client } = await begin();
    client.send(publish);
    await client.closed;
    const { client: late, connack } = await authenticate();
    assert.equal(connack.reasonCode, 0);
    late.publish('early', 'now');
    assert.equal((await watcher.next('publish')).payload.toString(), 'now');
    await Promise.all([late.end(), watcher.end()]);
  });

  test('a PUBLISH behind the last AUTH, sent before CONNACK has come, gets 0x82', async () => {
    const { challenge, client, scram } = await begin();
    client.send(
      Buffer.concat([auth(0x18, scram.final(dataOf(challenge))), mqttPacket.generate(publish, { protocolVersion: 5 })]),
    );
    assert.equal(await refusal(client), 0x82);
  });

  test('DISCONNECT ends the connection, without CONNACK', async () => {
    const { client } = await begin();
    client.send({ cmd: 'disconnect', reasonCode: 0 });
    await client.closed;
    assert.deepEqual(client.received, []);
  });
});

test('[MQTT5 §4.12] AUTH out of turn gets 0x82: before the challenge, behind the end, and re-authentication before CONNACK', async () => {
  const { first } = new ScramClient('ann', 'pencil');
  assert.equal(await refusalOf(connect(first), auth(0x18, first)), 0x82);
  const { challenge, client, scram } = await begin();
  const final = auth(0x18, scram.final(dataOf(challenge)));
  client.send(Buffer.concat([final, final]));
  assert.equal(await refusal(client), 0x82);
  const { client: hasty } = await begin();
  hasty.send(auth(0x19, first));
  assert.equal(await refusal(hasty), 0x82);
});

describe('AUTH that breaks a rule', () => {
  const method = property.authenticationMethod(METHOD);
  const cases: Array<[title: string, reason: number, bytes: Buffer]> = [
    ['[MQTT5 3.15.1-1] a reserved flag', 0x81, packet(0xf1, 0x18, props(method))],
    ['[MQTT5 3.15.2-1] the reason code 0x00, which is ours', 0x82, packet(0xf0, 0x00, props(method))],
    ['[MQTT5 3.15.2-1] no reason code, which means 0x00', 0x82, packet(0xf0)],
    ['[MQTT5 3.15.2-1] a reason code that AUTH has not', 0x82, packet(0xf0, 0x87, props(method))],
    ['[MQTT5 §3.15.2.2.2] no method', 0x82, packet(0xf0, 0x18, props())],
    ['[MQTT5 §3.15.2.2.2] the method twice', 0x82, packet(0xf0, 0x18, props(method, method))],
    [
      '[MQTT5 §3.15.2.2] a property that AUTH has not',
      0x81,
      packet(0xf0, 0x18, props(method, property.sessionExpiry(1))),
    ],
  ];
  for (const [title, reason, bytes] of cases) {
    test(`${title}: CONNACK 0x${reason.toString(16)} before it is connected, DISCONNECT with the same after`, async () => {
      const { client } = await begin();
      client.send(bytes);
      assert.equal(await refusal(client), reason);
      const later = await connected();
      later.send(bytes);
      assert.equal(await later.closingReason(), reason);
    });
  }

  test('[MQTT5 §3.1.2.11.10] Authentication Data without a method in CONNECT gets 0x82', async () => {
    const properties = { authenticationData: Buffer.from('x') };
    const bytes = mqttPacket.generate(connectPacket({ version: 5, properties }), { protocolVersion: 5 });
    assert.equal(await refusalOf(bytes), 0x82);
  });

  test('[MQTT311 §2.2.1] AUTH of an MQTT 3.x client closes the connection', async () => {
    for (const version of [3, 4] as const) {
      const client = await RawClient.connect(node.tcp, { version });
      client.send(auth(0x18));
      await client.closed;
      assert.deepEqual(client.received, []);
    }
  });
});

testEmbedded(
  '[MQTT5 §4.12] an exchange that is not over when limits.connectTimeoutSeconds have passed gets 0x87',
  async () => {
    const { client } = await begin('ann', 'pencil', {}, strict.tcp);
    clock.pass(21);
    assert.equal(await refusal(client), 0x87);
  },
);

test('[MQTT5 3.15.2-2] [MQTT5 3.15.2-3] [MQTT5 3.1.2-24] AUTH has neither reason string nor user properties; one above Maximum Packet Size is not sent', async () => {
  const { client, challenge } = await begin('ann', 'pencil', { properties: { maximumPacketSize: 150 } });
  assert.deepEqual(Object.keys(challenge.properties ?? {}).sort(), ['authenticationData', 'authenticationMethod']);
  await client.abort();
  const small = await RawClient.open(node.tcp, 5);
  small.send(connect(new ScramClient('ann', 'pencil').first, { properties: { maximumPacketSize: 40 } }));
  assert.equal(await refusal(small), 0x95);
});

test('[MQTT5 3.2.2-19] a refusal leaves its reason string out where the client takes no packet of that size', async () => {
  for (const [maximumPacketSize, hasReasonString] of [
    [200, true],
    [10, false],
  ] as const) {
    const client = await RawClient.open(node.tcp, 5);
    client.send(connect(undefined, { properties: { authenticationMethod: 'x', maximumPacketSize } }));
    const connack = await client.next('connack');
    assert.equal(connack.reasonCode, 0x8c);
    assert.equal(connack.properties?.reasonString !== undefined, hasReasonString);
  }
});

test('[MQTT5 3.1.4-2] [MQTT5 3.1.4-3] nothing of a client is touched before it has proved who it is: neither connection nor session nor will', async () => {
  const fields: ConnectFields = { clientId: 'kept', clean: false, properties: { sessionExpiryInterval: 60 } };
  const watcher = await RawClient.connect(node.tcp, { version: 5 });
  await watcher.subscribe('will/#');
  const first = await connected('ann', 'pencil', fields);
  await first.subscribe({ topic: 'kept', qos: 1 });
  const will = { topic: 'will/forged', payload: Buffer.from('x'), qos: 0 as const, retain: false };
  const forged = await authenticate('ann', 'wrong', { ...fields, clean: true, will });
  assert.equal(forged.connack.reasonCode, 0x87);
  const { client: waiting } = await begin('ann', 'pencil', { ...fields, clean: true, will });
  await first.ping();
  await waiting.abort();
  // The same id, this time for good.
  const second = await authenticate('ann', 'pencil', fields);
  assert.equal(second.connack.sessionPresent, true);
  assert.equal(await first.closingReason(), 0x8e);
  second.client.publish('will/none', 'end');
  assert.equal((await watcher.next('publish')).topic, 'will/none');
  await Promise.all([second.client.end(0), watcher.end()]);
});

/** AUTH 0x19 with the first message, up to the challenge. */
async function beginAgain(
  client: RawClient,
  name = 'ann',
  password = 'pencil',
): Promise<ScramClient & { data: Buffer }> {
  const scram = new ScramClient(name, password);
  client.send(auth(0x19, scram.first));
  const challenge = await client.next('auth');
  assert.equal(challenge.reasonCode, 0x18);
  assert.equal(challenge.properties?.authenticationMethod, METHOD);
  return Object.assign(scram, { data: dataOf(challenge) });
}

test('[MQTT5 4.12.1-1] [MQTT5 4.12.0-5] re-authentication ends with AUTH 0x00, with method and data; traffic goes on meanwhile, and it may be repeated', async () => {
  const client = await connected();
  await client.subscribe({ topic: 'meanwhile', qos: 1 });
  client.acknowledges = true;
  for (const round of ['one', 'two']) {
    const scram = await beginAgain(client);
    assert.equal(await client.publishAcknowledged('meanwhile', round, 1), 0);
    assert.equal((await client.next('publish')).payload.toString(), round);
    client.send(auth(0x18, scram.final(scram.data)));
    const success = await client.next('auth');
    assert.equal(success.reasonCode ?? 0, 0);
    assert.equal(success.properties?.authenticationMethod, METHOD);
    assert.ok(scram.isProvedBy(dataOf(success)));
  }
  await client.ping();
  await client.end();
});

test('[MQTT5 4.12.1-2] a failed re-authentication: DISCONNECT 0x87, close, and the will is published', async () => {
  const watcher = await RawClient.connect(node.tcp, { version: 5 });
  await watcher.subscribe('failed');
  const will = { topic: 'failed', payload: Buffer.from('gone'), qos: 0 as const, retain: false };
  const client = await connected('ann', 'pencil', { will });
  const scram = await beginAgain(client, 'ann', 'wrong');
  client.send(auth(0x18, scram.final(scram.data)));
  assert.equal(await client.closingReason(), 0x87);
  assert.equal((await watcher.next('publish')).payload.toString(), 'gone');
  await watcher.end();
});

test('[MQTT5 §4.12.1] re-authentication as somebody else, though with the right password, gets 0x87', async () => {
  const client = await connected();
  const scram = await beginAgain(client, 'ben', 'ink');
  client.send(auth(0x18, scram.final(scram.data)));
  assert.equal(await client.closingReason(), 0x87);
});

test('[MQTT5 4.12.1-1] re-authentication with another method, out of turn or within another one gets 0x82', async () => {
  const { first } = new ScramClient('ann', 'pencil');
  const other = await connected();
  other.send(auth(0x19, first, 'SCRAM-SHA-1'));
  assert.equal(await other.closingReason(), 0x82);
  const unasked = await connected();
  unasked.send(auth(0x18, first));
  assert.equal(await unasked.closingReason(), 0x82);
  const twice = await connected();
  await beginAgain(twice);
  twice.send(auth(0x19, first));
  assert.equal(await twice.closingReason(), 0x82);
});

test('[MQTT5 3.1.4-2] [MQTT311 3.1.4-2] auth.scram.required: a client without a method gets 0x87 / 0x05, one with SCRAM is accepted', async () => {
  const five = await RawClient.connect(strict.tcp, { version: 5 });
  assert.equal(five.connack.reasonCode, 0x87);
  await five.closed;
  for (const version of [3, 4] as const) {
    const client = await RawClient.connect(strict.tcp, { version, username: 'ann', password: Buffer.from('pencil') });
    assert.equal(client.connack.returnCode, 5);
    await client.closed;
  }
  const { client, connack } = await authenticate('ann', 'pencil', {}, strict.tcp);
  assert.equal(connack.reasonCode, 0);
  await client.end();
});

test('auth - users that come and go are known without a restart', async (t) => {
  const path = join(folder, 'changing');
  writeFileSync(path, line('ann', 'pencil'));
  const changing = await startDeployment({ SUPERMQ_AUTH_SCRAM_FILE: path });
  t.after(() => changing.stop());
  const codeOf = async (name: string, password: string): Promise<number | undefined> => {
    const { client, connack } = await authenticate(name, password, {}, changing.tcp);
    if (connack.reasonCode === 0) await client.end();
    return connack.reasonCode;
  };
  const staying = await authenticate('ann', 'pencil', {}, changing.tcp);
  assert.equal(await codeOf('ben', 'ink'), 0x87);
  replaceFile(path, line('ben', 'ink'));
  await eventually(async () => (await codeOf('ben', 'ink')) === 0);
  assert.equal(await codeOf('ann', 'pencil'), 0x87);
  // Who is connected stays so until it has to prove it again.
  const scram = await beginAgain(staying.client);
  staying.client.send(auth(0x18, scram.final(scram.data)));
  assert.equal(await staying.client.closingReason(), 0x87);
});

testEmbedded('auth - a file of users with a bad line stops the start with a sentence that names the line', async () => {
  const path = join(folder, 'bad');
  writeFileSync(path, `${users}carl:secret\n`);
  await assert.rejects(startNode({ SUPERMQ_AUTH_SCRAM_FILE: path }), (error) => {
    assert.ok(error instanceof ScramError);
    assert.match(error.message, /: line 4 is not name:SCRAM-SHA-256/);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});

testEmbedded(
  'auth - content that cannot be used changes nothing and is told; no log line has authentication data or keys',
  async (t) => {
    const path = join(folder, 'logged');
    writeFileSync(path, users);
    let lines = '';
    const destination = {
      write: (text: string) => {
        lines += text;
      },
    };
    const logged = await startNode({ SUPERMQ_AUTH_SCRAM_FILE: path }, systemClock, makeLog('trace', 'n', destination));
    t.after(() => logged.stop());
    const [good, bad] = [
      await authenticate('ann', 'pencil', {}, logged.tcp),
      await authenticate('ann', 'wrong', {}, logged.tcp),
    ];
    assert.deepEqual([good.connack.reasonCode, bad.connack.reasonCode], [0, 0x87]);
    const again = await beginAgain(good.client);
    good.client.send(auth(0x18, Buffer.from('p=nonsense')));
    assert.equal(await good.client.closingReason(), 0x82);
    replaceFile(path, `${users}${line('carl', 'x').trim()}x\n`);
    await eventually(() => lines.includes('auth.usersRefused'));
    assert.match(lines, /line 4 is not name:SCRAM-SHA-256/);
    const still = await authenticate('ann', 'pencil', {}, logged.tcp);
    assert.equal(still.connack.reasonCode, 0);
    await still.client.end();
    replaceFile(path, users.replaceAll('ben', 'carl'));
    await eventually(() => lines.includes('auth.usersChanged'));
    await logged.stop();
    assert.match(lines, /connection\.accepted/);
    assert.match(lines, /connection\.failed/);
    assert.equal(lines.match(/auth\.usersRefused/g)?.length, 1, 'told once');
    const messages = [again.data, dataOf(good.challenge), dataOf(good.connack), dataOf(bad.challenge)].map(String);
    const secrets = [...messages, ...messages.flatMap((text) => text.split(',')), 'nonsense'];
    for (const secret of [...secrets, ...users.split(/[:$\s]+/).filter((part) => part.length > 15)])
      if (secret !== 'i=4096') assert.ok(!lines.includes(secret), `${secret} in the log`);
  },
);
