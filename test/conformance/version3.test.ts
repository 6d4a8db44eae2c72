/**
 * MQTT 3.1 and 3.1.1 in their own words, wherever these differ from MQTT 5: return codes, SUBACK, and a closed connection where MQTT 5
 * has DISCONNECT. Bytes are looked at where a parser would hide something.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDeployment, testEmbedded } from '../support/deployment.ts';
import type { TestNode } from '../support/node.ts';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';
import { startWiredNode } from '../support/wired-node.ts';
import { bytes, packet, str, u16 } from '../unit/mqtt/bytes.ts';

let node: TestNode;
before(async () => {
  node = await startDeployment({
    SUPERMQ_LIMITS_MAX_CLIENT_ID_BYTES: '100',
    SUPERMQ_LIMITS_MAX_SESSION_EXPIRY_SECONDS: '60',
  });
});
after(() => node.stop());

const versions = [3, 4] as const;
type Old = (typeof versions)[number];

const CLEAN = 0x02;
let serial = 0;

function nextId(): string {
  return `three-${++serial}`;
}

/** CONNECT byte by byte: `payload` follows the client id. */
function connectBytes(version: Old, flags: number, id: string, ...payload: Buffer[]): Buffer {
  const name = version === 3 ? 'MQIsdp' : 'MQTT';
  return packet(0x10, str(name), version, flags, u16(0), str(id), ...payload);
}

/** Everything that the server sends until it closes. */
async function untilClosed(sent: Buffer, port = node.tcp): Promise<Buffer> {
  const client = await RawClient.open(port);
  const chunks: Buffer[] = [];
  client.socket.on('data', (chunk) => chunks.push(chunk));
  client.send(sent);
  await client.closed;
  return Buffer.concat(chunks);
}

/** The answer to `sent` followed by DISCONNECT. */
function answerTo(sent: Buffer): Promise<Buffer> {
  return untilClosed(bytes(sent, 0xe0, 0));
}

const accepted = bytes(0x20, 2, 0, 0);
const refusedWith = (code: number): Buffer => bytes(0x20, 2, 0, code);
const nothing = Buffer.alloc(0);

async function withClient(fields: ConnectFields, use: (client: RawClient) => Promise<void>): Promise<void> {
  const client = await RawClient.connect(node.tcp, fields);
  await use(client);
  await client.end();
}

test('[MQTT311 3.2.2-1] [MQTT311 3.2.2-2] CONNACK has two bytes; the first says Session Present in MQTT 3.1.1 and is reserved in MQTT 3.1', async () => {
  for (const version of versions) {
    const connect = connectBytes(version, 0, nextId());
    assert.deepEqual(await answerTo(connect), accepted);
    const again = version === 4 ? bytes(0x20, 2, 1, 0) : accepted;
    assert.deepEqual(await answerTo(connect), again);
  }
});

test('a session of MQTT 3.1 is resumed though CONNACK cannot say so', async () => {
  const fields = { version: 3 as const, clientId: nextId(), clean: false };
  await withClient(fields, async (client) => {
    assert.deepEqual(await client.subscribe({ topic: 'three/kept', qos: 1 }), [1]);
  });
  await withClient({ version: 4 }, async (publisher) => {
    await publisher.publishAcknowledged('three/kept', 'meanwhile', 1);
  });
  await withClient(fields, async (client) => {
    client.acknowledges = true;
    assert.deepEqual(await client.messages(1), [{ topic: 'three/kept', payload: 'meanwhile' }]);
  });
});

test('[MQTT311 3.1.2-1] [MQTT311 3.1.2-2] [C] return code 1 for a level that does not belong to its name, and no answer to another name', async () => {
  const named = (name: string, level: number): Buffer => packet(0x10, str(name), level, CLEAN, u16(0), str(nextId()));
  assert.deepEqual(await untilClosed(named('MQIsdp', 4)), refusedWith(1));
  assert.deepEqual(await untilClosed(named('MQTT', 3)), refusedWith(1));
  assert.deepEqual(await untilClosed(named('MQTT', 0x84)), refusedWith(1), 'a bridge tries again without its bit');
  assert.deepEqual(await untilClosed(named('mqtt', 4)), nothing);
});

test('[MQTT311 3.1.3-5] [MQTT311 3.1.3-9] client ids: 1 to 23 characters, longer ones and any characters up to the limit; return code 2 above', async () => {
  for (const version of versions) {
    for (const id of ['a', 'x'.repeat(23), 'x'.repeat(24), 'grün/+#%', 'x'.repeat(100)]) {
      assert.deepEqual(await answerTo(connectBytes(version, CLEAN, `${id}`)), accepted, id);
    }
    assert.deepEqual(await untilClosed(connectBytes(version, CLEAN, 'x'.repeat(101))), refusedWith(2));
  }
});

test('[MQTT311 3.1.3-6] [MQTT311 3.1.3-8] an empty client id: 3.1.1 gives one to a clean session, return code 2 otherwise; MQTT 3.1 has none', async () => {
  assert.deepEqual(await answerTo(connectBytes(4, CLEAN, '')), accepted);
  assert.deepEqual(await untilClosed(connectBytes(4, 0, '')), refusedWith(2));
  assert.deepEqual(await untilClosed(connectBytes(3, CLEAN, '')), refusedWith(2));
  assert.deepEqual(await untilClosed(connectBytes(3, 0, '')), refusedWith(2));
});

testEmbedded(
  'return code 3 when the node cannot serve, 5 for a will on a topic that clients may not publish to',
  async () => {
    const wired = await startWiredNode();
    wired.store.before = () => Promise.reject(new Error('no answer'));
    const will = [str('$SYS/x'), str('gone')];
    for (const version of versions) {
      assert.deepEqual(await untilClosed(connectBytes(version, 0, nextId()), wired.tcp), refusedWith(3));
      assert.deepEqual(await untilClosed(connectBytes(version, 0x06, nextId(), ...will)), refusedWith(5));
    }
    wired.store.before = async () => {};
    await wired.stop();
  },
);

test('[MQTT311 3.2.2-6] [MQTT311 3.1.4-1] a CONNECT that no return code fits is closed without CONNACK', async () => {
  for (const version of versions) {
    const wildcard = connectBytes(version, 0x06, nextId(), str('a/#'), str('x'));
    const tooLong = connectBytes(version, CLEAN, nextId(), bytes(0));
    for (const sent of [wildcard, tooLong]) assert.deepEqual(await untilClosed(sent), nothing);
  }
});

test('[MQTT311 3.9.3-2] [MQTT311 3.8.4-5] SUBACK has the granted QoS and 0x80 for whatever is refused, in MQTT 3.1 too', async () => {
  for (const version of versions) {
    await withClient({ version }, async (client) => {
      const granted = await client.subscribe(
        { topic: 'a', qos: 0 },
        { topic: 'b', qos: 1 },
        { topic: 'c', qos: 2 },
        'not/a#filter',
        '$SYS/#',
        '$other/x',
        '_INBOX/x',
        '$g/toolongname/x',
        '$share//x',
        '$share/g/d',
      );
      assert.deepEqual(granted.slice(0, 4), [0, 1, 2, 0x80]);
      assert.deepEqual(granted.slice(5), [0x80, 0x80, 0x80, 0x80, 0]);
    });
  }
});

test('[MQTT311 3.10.4-5] UNSUBACK is its packet id and nothing else, whether there was a subscription or not', async () => {
  for (const version of versions) {
    const unsubscribe = packet(0xa2, u16(7), str('never/subscribed'), str('neither'));
    const sent = bytes(connectBytes(version, CLEAN, nextId()), unsubscribe);
    assert.deepEqual(await answerTo(sent), bytes(accepted, 0xb0, 2, 0, 7));
  }
});

test('PUBACK, PUBREC and PUBCOMP have no reason code, for an unknown packet id and a forbidden topic either', async () => {
  for (const version of versions) {
    const publish = (qos: 1 | 2, id: number): Buffer => packet(0x30 | (qos << 1), str('$SYS/x'), u16(id), str('x'));
    const sent = bytes(connectBytes(version, CLEAN, nextId()), publish(1, 5), publish(2, 6), packet(0x62, u16(9)));
    const client = await RawClient.open(node.tcp, version);
    client.send(sent);
    await client.next('pubcomp');
    const chunks = ['puback', 'pubrec'].map((cmd) => client.received.find((answer) => answer.cmd === cmd));
    assert.deepEqual(
      chunks.map((answer) => answer !== undefined && 'length' in answer && answer.length),
      [2, 2],
    );
    await client.end();
  }
});

const breaches: ReadonlyArray<readonly [string, Buffer]> = [
  ['[MQTT311 3.1.0-2] a second CONNECT', connectBytes(4, CLEAN, 'second')],
  ['[MQTT311 3.3.1-4] QoS 3', packet(0x36, str('a'), u16(1))],
  ['[MQTT311 3.3.2-2] a wildcard in a topic name', packet(0x30, str('a/#'))],
  ['[MQTT311 4.7.3-1] an empty topic name', packet(0x30, str(''))],
  ['[MQTT311 2.3.1-1] packet id 0', packet(0x32, str('a'), u16(0))],
  ['[MQTT311 3.8.3-3] SUBSCRIBE without a filter', packet(0x82, u16(1))],
  ['[MQTT311 3.8.3-4] reserved bits of the requested QoS', packet(0x82, u16(1), str('a'), 4)],
  ['[MQTT311 3.10.3-2] UNSUBSCRIBE without a filter', packet(0xa2, u16(1))],
  ['[MQTT311 §2.2.1] AUTH', packet(0xf0)],
  ['a packet of the server', packet(0x20, 0, 0)],
  ['an acknowledgement with a reason code', packet(0x40, u16(1), 0)],
  ['DISCONNECT with a reason code', packet(0xe0, 4)],
];

for (const [what, sent] of breaches) {
  test(`[MQTT311 4.8.0-1] ${what}: the connection is closed and nothing is said`, async () => {
    for (const version of versions) {
      assert.deepEqual(await untilClosed(bytes(connectBytes(version, CLEAN, nextId()), sent)), accepted);
    }
  });
}

test('[MQTT311 3.1.4-2] a takeover, a stopping node and a keep alive that is over close the connection without a word', async () => {
  for (const version of versions) {
    const clientId = nextId();
    const first = await RawClient.connect(node.tcp, { version, clientId });
    const second = await RawClient.connect(node.tcp, { version, clientId });
    await first.closed;
    assert.deepEqual(first.received, []);
    const silent = await RawClient.connect(node.tcp, { version, keepalive: 1 });
    await silent.closed;
    assert.deepEqual(silent.received, []);
    await second.end();
    const leaving = await startDeployment();
    const client = await RawClient.connect(leaving.tcp, { version });
    await leaving.stop();
    await client.closed;
    assert.deepEqual(client.received, []);
  }
});

test('messages with properties come without them, and $share is open to MQTT 3.x', async () => {
  for (const version of versions) {
    await withClient({ version }, async (client) => {
      assert.deepEqual(await client.subscribe(`plain/${version}`, `$share/g/shared/${version}`), [0, 0]);
      await withClient({ version: 5 }, async (publisher) => {
        const properties = { contentType: 'text/plain', userProperties: { a: 'b' } };
        publisher.publish(`plain/${version}`, 'x', { properties });
        publisher.publish(`shared/${version}`, 'y', { properties });
        const messages = await client.messages(2);
        assert.deepEqual(messages.map(({ payload }) => payload).sort(), ['x', 'y']);
      });
    });
  }
});

// ---- what MQTT 3.1 lets pass and MQTT 3.1.1 does not ----

test('MQTT 3.1: a user name or a password that is announced and missing is none; MQTT 3.1.1 is closed', async () => {
  const [user, password] = [str('user'), str('word')];
  for (const payload of [[], [user], [user, password]]) {
    assert.deepEqual(await answerTo(connectBytes(3, 0xc2, nextId(), ...payload)), accepted, `${payload.length} fields`);
  }
  assert.deepEqual(await answerTo(connectBytes(3, 0x82, nextId())), accepted);
  assert.deepEqual(await untilClosed(connectBytes(3, 0xc2, nextId(), user, password, user)), nothing, 'too much');
  assert.deepEqual(await untilClosed(connectBytes(3, 0x42, nextId(), password)), nothing, 'a password alone');
  assert.deepEqual(await untilClosed(connectBytes(4, 0xc2, nextId())), nothing);
  assert.deepEqual(await untilClosed(connectBytes(4, 0xc2, nextId(), user)), nothing);
});

test('[MQTT311 3.1.2-3] [MQTT311 3.1.2-13] [MQTT311 3.1.2-15] connect flag 0, and will flags without a will: MQTT 3.1 ignores them, MQTT 3.1.1 is closed', async () => {
  for (const flags of [0x03, 0x0a, 0x22, 0x3b]) {
    assert.deepEqual(await answerTo(connectBytes(3, flags, nextId())), accepted, flags.toString(16));
    assert.deepEqual(await untilClosed(connectBytes(4, flags, nextId())), nothing, flags.toString(16));
  }
});

test('[MQTT311 3.8.1-1] [MQTT311 3.10.1-1] [MQTT311 3.6.1-1] DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL marks a repetition in MQTT 3.1 and is reserved in MQTT 3.1.1', async () => {
  const repeated: ReadonlyArray<readonly [Buffer, Buffer]> = [
    [packet(0x8a, u16(3), str('dup'), 1), bytes(0x90, 3, 0, 3, 1)],
    [packet(0xaa, u16(4), str('dup')), bytes(0xb0, 2, 0, 4)],
    [packet(0x6a, u16(5)), bytes(0x70, 2, 0, 5)],
  ];
  for (const [sent, answer] of repeated) {
    const client = await RawClient.open(node.tcp, 3);
    const chunks: Buffer[] = [];
    client.socket.on('data', (chunk) => chunks.push(chunk));
    client.send(bytes(connectBytes(3, CLEAN, nextId()), sent));
    const received = (): Buffer => Buffer.concat(chunks);
    while (received().length < accepted.length + answer.length) await new Promise(setImmediate);
    assert.deepEqual(received(), bytes(accepted, answer));
    await client.end();
    assert.deepEqual(await untilClosed(bytes(connectBytes(4, CLEAN, nextId()), sent)), accepted);
    const other = Buffer.from(sent);
    other[0] = (sent[0] ?? 0) & 0xf0;
    assert.deepEqual(
      await untilClosed(bytes(connectBytes(3, CLEAN, nextId()), other)),
      accepted,
      'without the fixed bit',
    );
  }
});
