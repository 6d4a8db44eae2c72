/** CONNECT: what comes out of a right one, and each breach of a rule with the reason code that answers it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as connecting from '../../../src/mqtt/connect.ts';
import { requestedVersion, UnsupportedVersionError } from '../../../src/mqtt/connect.ts';
import type { ConnectPacket } from '../../../src/mqtt/packet.ts';
import {
  badStrings,
  bodyOffset,
  bytes,
  fullConnect,
  type Part,
  packet,
  property,
  props,
  refusal,
  str,
  u16,
} from './bytes.ts';

interface ConnectParts {
  header?: number;
  name?: string | Buffer;
  level?: number;
  flags?: number;
  properties?: Part;
  payload?: readonly Part[];
}

/** A CONNECT that is right except for what is given. */
function connect(parts: ConnectParts = {}): Buffer {
  const { header = 0x10, name = 'MQTT', level = 5, flags = 2, properties, payload = [str('id')] } = parts;
  const block = properties ?? (level === 5 ? props() : bytes());
  return packet(header, str(name), level, flags, u16(60), block, ...payload);
}

const decodeConnect = (frame: Buffer): ConnectPacket => connecting.decodeConnect(frame, bodyOffset(frame));

/** Flags of CONNECT. */
const clean = 0x02;
const will = 0x04;
const username = 0x80;
const password = 0x40;

/** Payload of a CONNECT with a will. */
const willPayload = (topic: string | Buffer = 't', properties: Part = props()) => [
  str('id'),
  properties,
  str(topic),
  str('p'),
];

type Case = readonly [title: string, reason: number, frame: Buffer];

function refuses(cases: readonly Case[], validate: (frame: Buffer) => unknown): void {
  for (const [title, reason, frame] of cases) {
    test(`${title}: 0x${reason.toString(16)}`, () => {
      assert.throws(() => validate(frame), refusal(reason));
    });
  }
}

describe('decodeConnect', () => {
  test('reads every field of MQTT 5', () => {
    assert.deepEqual(decodeConnect(fullConnect), {
      cmd: 'connect',
      version: 5,
      clientId: 'client',
      cleanStart: true,
      keepAliveSeconds: 30,
      username: 'user',
      password: bytes(1, 0),
      will: {
        topic: 'will/topic',
        payload: bytes(0, 0xff),
        qos: 1,
        retain: true,
        delaySeconds: 7,
        // [MQTT5 3.1.3-10]
        properties: bytes(property.user('b', '1'), property.user('10', 'x'), property.user('b', '2')),
      },
      sessionExpirySeconds: 100,
      receiveMaximum: 20,
      maximumPacketSize: 1000,
      topicAliasMaximum: 5,
      requestResponseInformation: true,
      requestProblemInformation: false,
      authenticationMethod: 'method',
      authenticationData: bytes(0, 1),
    });
  });

  test('[MQTT5 §3.1.2.11] absent properties get the defaults of the specification', () => {
    const expected = {
      cmd: 'connect',
      version: 5,
      clientId: '',
      cleanStart: false,
      keepAliveSeconds: 0,
      username: undefined,
      password: undefined,
      will: undefined,
      sessionExpirySeconds: 0,
      receiveMaximum: 65_535,
      maximumPacketSize: Number.POSITIVE_INFINITY,
      topicAliasMaximum: 0,
      requestResponseInformation: false,
      requestProblemInformation: true,
      authenticationMethod: undefined,
      authenticationData: undefined,
    };
    assert.deepEqual(decodeConnect(packet(0x10, str('MQTT'), 5, 0, u16(0), props(), str(''))), expected);
  });

  test('[MQTT311 3.1.2-5] [MQTT311 3.1.2-6] a session of MQTT 3.x ends with the connection or never', () => {
    const connect = (name: string, level: number, flags: number) =>
      decodeConnect(packet(0x10, str(name), level, flags, u16(1), str('id')));
    assert.equal(connect('MQTT', 4, 2).sessionExpirySeconds, 0);
    assert.equal(connect('MQTT', 4, 0).sessionExpirySeconds, 0xffffffff);
    assert.equal(connect('MQIsdp', 3, 0).sessionExpirySeconds, 0xffffffff);
    assert.equal(connect('MQIsdp', 3, 0).version, 3);
  });

  test('[MQTT5 1.5.4-3] [MQTT311 1.5.3-3] U+FEFF is kept in client id, user name and will topic', () => {
    const bom = '\ufeffx';
    const frame = packet(0x10, str('MQTT'), 4, 0x86, u16(1), str(bom), str(bom), str(''), str(bom));
    const { clientId, username, will } = decodeConnect(frame);
    assert.deepEqual([clientId, username, will?.topic], [bom, bom, bom]);
    assert.equal(will?.payload.length, 0);
  });

  test('[MQTT5 §3.1.2.9] a password alone is read', () => {
    const frame = packet(0x10, str('MQTT'), 5, 0x42, u16(1), props(), str('id'), str('secret'));
    assert.deepEqual(decodeConnect(frame).password, Buffer.from('secret'));
  });

  test('nothing decoded shares memory with the frame', () => {
    const frame = Buffer.from(fullConnect);
    const decoded = decodeConnect(frame);
    frame.fill(0x2a);
    assert.deepEqual(decoded, decodeConnect(fullConnect));
  });

  test('[MQTT5 3.1.0-1] [MQTT311 3.1.0-1] another packet first is refused', () => {
    assert.throws(() => decodeConnect(packet(0xc0)), refusal(0x82));
    assert.throws(() => decodeConnect(Buffer.from('GET / HTTP/1.1\r\n')), refusal(0x82));
  });
});

describe('CONNECT', () => {
  refuses(
    [
      ['[MQTT5 2.1.3-1] [MQTT311 2.2.2-2] reserved header flags set', 0x81, connect({ header: 0x11 })],
      ['[MQTT5 3.1.2-1] [MQTT311 3.1.2-1] wrong protocol name', 0x84, connect({ name: 'mqtt' })],
      ['[MQTT5 3.1.2-1] [MQTT311 3.1.2-1] empty protocol name', 0x84, connect({ name: '' })],
      ['[MQTT5 3.1.2-3] [MQTT311 3.1.2-3] reserved connect flag', 0x81, connect({ flags: clean | 1 })],
      ['[MQTT311 3.1.2-3] reserved connect flag', 0x81, connect({ level: 4, flags: clean | 1 })],
      ['[MQTT5 3.1.2-11] will QoS without a will', 0x81, connect({ flags: clean | 0x08 })],
      ['[MQTT5 3.1.2-13] will retain without a will', 0x81, connect({ flags: clean | 0x20 })],
      ['[MQTT311 3.1.2-13] will QoS without a will', 0x81, connect({ level: 4, flags: clean | 0x10 })],
      ['[MQTT311 3.1.2-15] will retain without a will', 0x81, connect({ level: 4, flags: clean | 0x20 })],
      ['[MQTT5 3.1.2-12] will QoS 3', 0x81, connect({ flags: clean | will | 0x18, payload: willPayload() })],
      [
        '[MQTT311 3.1.2-14] will QoS 3',
        0x81,
        connect({ level: 4, flags: will | 0x1a, payload: willPayload('t', bytes()) }),
      ],
      [
        '[MQTT311 3.1.2-22] password without user name',
        0x81,
        connect({ level: 4, flags: clean | password, payload: [str('id'), str('p')] }),
      ],
      ['[MQTT5 3.1.2-9] will flag without a will', 0x81, connect({ flags: clean | will })],
      [
        '[MQTT5 3.1.2-9] will without its payload',
        0x81,
        connect({ flags: clean | will, payload: [str('id'), props(), str('t')] }),
      ],
      ['[MQTT311 3.1.2-9] will flag without a will', 0x81, connect({ level: 4, flags: clean | will })],
      ['[MQTT5 3.1.2-17] user name flag without user name', 0x81, connect({ flags: clean | username })],
      ['[MQTT5 3.1.2-16] user name without its flag', 0x81, connect({ payload: [str('id'), str('user')] })],
      ['[MQTT5 3.1.2-19] password flag without password', 0x81, connect({ flags: clean | password })],
      [
        '[MQTT5 3.1.2-18] password without its flag',
        0x81,
        connect({ flags: clean | username, payload: [str('id'), str('u'), str('p')] }),
      ],
      ['[MQTT311 3.1.2-19] user name flag without user name', 0x81, connect({ level: 4, flags: clean | username })],
      ['[MQTT311 3.1.2-18] user name without its flag', 0x81, connect({ level: 4, payload: [str('id'), str('user')] })],
      [
        '[MQTT311 3.1.2-21] password flag without password',
        0x81,
        connect({ level: 4, flags: clean | username | password, payload: [str('id'), str('u')] }),
      ],
      [
        '[MQTT311 3.1.2-20] password without its flag',
        0x81,
        connect({ level: 4, flags: clean | username, payload: [str('id'), str('u'), str('p')] }),
      ],
      ['[MQTT5 3.1.3-3] no client id', 0x81, connect({ payload: [] })],
      ['[MQTT311 3.1.3-3] no client id', 0x81, connect({ level: 4, payload: [] })],
      ['[MQTT5 §1.2] client id runs past the packet', 0x81, connect({ payload: [0, 3, 0x61] })],
      ['[MQTT5 §1.2] bytes after the last field', 0x81, connect({ payload: [str('id'), 0] })],
      ['[MQTT5 §1.2] empty packet', 0x81, packet(0x10)],
      ['[MQTT5 §1.2] ends behind the level', 0x81, packet(0x10, str('MQTT'), 5)],
      ['[MQTT5 §1.2] ends within Keep Alive', 0x81, packet(0x10, str('MQTT'), 5, 2, 0)],
      ['[MQTT5 2.2.2-1] no property length', 0x81, packet(0x10, str('MQTT'), 5, 2, u16(0))],
      ['[MQTT5 1.5.5-1] property length longer than needed', 0x81, connect({ properties: bytes(0x80, 0x00) })],
      ['[MQTT5 §2.2.2.1] property length overruns the packet', 0x81, connect({ properties: bytes(0x7f) })],
      ['[MQTT5 §2.2.2.2 misplaced] unknown property', 0x81, connect({ properties: props(0x7e, 0) })],
      ['[MQTT5 §2.2.2.2 misplaced] property of a will', 0x81, connect({ properties: props(property.willDelay(1)) })],
      ['[MQTT5 §2.2.2.2 misplaced] property of a CONNACK', 0x81, connect({ properties: props(36, 1) })],
      [
        '[MQTT5 §2.2.2.2 misplaced] repeated property',
        0x82,
        connect({ properties: props(property.sessionExpiry(0), property.sessionExpiry(0)) }),
      ],
      ['[MQTT5 §3.1.2.11.3] Receive Maximum 0', 0x82, connect({ properties: props(property.receiveMaximum(0)) })],
      [
        '[MQTT5 §3.1.2.11.4] Maximum Packet Size 0',
        0x82,
        connect({ properties: props(property.maximumPacketSize(0)) }),
      ],
      [
        '[MQTT5 §3.1.2.11.10] Authentication Data without a method',
        0x82,
        connect({ properties: props(property.authenticationData('d')) }),
      ],
      ['[MQTT5 4.7.3-1] empty will topic', 0x90, connect({ flags: clean | will, payload: willPayload('') })],
      [
        '[MQTT311 4.7.3-1] empty will topic',
        0x90,
        connect({ level: 4, flags: clean | will, payload: willPayload('', bytes()) }),
      ],
      ['[MQTT5 4.7.0-1] # in the will topic', 0x90, connect({ flags: clean | will, payload: willPayload('a/#') })],
      [
        '[MQTT311 4.7.1-1] + in the will topic',
        0x90,
        connect({ level: 4, flags: clean | will, payload: willPayload('+/a', bytes()) }),
      ],
      [
        '[MQTT5 §2.2.2.2 misplaced] Topic Alias in a will',
        0x81,
        connect({ flags: clean | will, payload: willPayload('t', props(property.topicAlias(1))) }),
      ],
      [
        '[MQTT5 §2.2.2.2 misplaced] repeated will property',
        0x82,
        connect({
          flags: clean | will,
          payload: willPayload('t', props(property.willDelay(1), property.willDelay(1))),
        }),
      ],
      [
        '[MQTT5 3.3.2-14] wildcard in the will response topic',
        0x82,
        connect({ flags: clean | will, payload: willPayload('t', props(property.responseTopic('a/+'))) }),
      ],
      [
        '[MQTT5 §3.3.2.3.2] payload format of a will is 2',
        0x82,
        connect({ flags: clean | will, payload: willPayload('t', props(property.payloadFormat(2))) }),
      ],
    ],
    decodeConnect,
  );

  for (const level of [4, 5]) {
    const block = level === 5 ? props() : bytes();
    for (const bad of badStrings) {
      const frames: readonly (readonly [string, Buffer])[] = [
        ['[MQTT5 3.1.3-4] [MQTT311 3.1.3-4] client id', connect({ level, payload: [str(bad.bytes)] })],
        [
          '[MQTT5 3.1.3-12] [MQTT311 3.1.3-11] user name',
          connect({ level, flags: clean | username, payload: [str('id'), str(bad.bytes)] }),
        ],
        [
          '[MQTT5 3.1.3-11] [MQTT311 3.1.3-10] will topic',
          connect({ level, flags: clean | will, payload: willPayload(bad.bytes, block) }),
        ],
        ['[MQTT5 1.5.4-1] [MQTT311 1.5.3-1] protocol name', connect({ level, name: bad.bytes })],
      ];
      for (const [where, frame] of frames) {
        test(`${where} of level ${level} with ${bad.what}: 0x81`, () => {
          assert.throws(() => decodeConnect(frame), refusal(0x81));
        });
      }
    }
  }

  for (const [name, level] of [
    ['MQTT', 3],
    ['MQTT', 0],
    ['MQTT', 6],
    ['MQTT', 255],
    ['MQIsdp', 4],
    ['MQIsdp', 0x83],
    ['MQTT', 0x84],
  ] as const) {
    test(`[MQTT5 3.1.2-2] [MQTT311 3.1.2-2] ${name} level ${level} is not supported and says which was asked for`, () => {
      const frame = connect({ name, level });
      assert.throws(() => decodeConnect(frame), refusal(0x84));
      assert.throws(
        () => decodeConnect(frame),
        (error) => error instanceof UnsupportedVersionError && error.level === level,
      );
      assert.equal(requestedVersion(frame, bodyOffset(frame)), undefined);
    });
  }

  test('MQTT 3.1, 3.1.1 and 5.0 are accepted', () => {
    assert.equal(decodeConnect(connect({ name: 'MQIsdp', level: 3 })).version, 3);
    assert.equal(decodeConnect(connect({ level: 4 })).version, 4);
    assert.equal(decodeConnect(connect({ level: 5 })).version, 5);
  });

  test('the version of a malformed CONNECT is known as far as it can be read', () => {
    const broken = connect({ payload: [], flags: 0xff });
    assert.equal(requestedVersion(broken, bodyOffset(broken)), 5);
    assert.equal(requestedVersion(packet(0x10, str('MQTT')), 2), undefined);
    assert.equal(requestedVersion(packet(0x10, str('HTTP'), 4), 2), undefined);
  });

  test('[MQTT5 §3.1.2.9] MQTT 5 takes a password without a user name', () => {
    decodeConnect(connect({ flags: clean | password, payload: [str('id'), str(bytes(0, 0xff))] }));
  });

  test('[MQTT5 3.1.3-1] [MQTT311 3.1.3-1] all fields in their order are accepted', () => {
    const flags = username | password | will | 0x30;
    const tail = [str('u'), str('p')];
    decodeConnect(connect({ flags, payload: [...willPayload('t', props(property.willDelay(3))), ...tail] }));
    decodeConnect(connect({ level: 4, flags, payload: [...willPayload('t', bytes()), ...tail] }));
  });

  test('[MQTT5 §2.2.2.2 user-property] User Property may repeat', () => {
    decodeConnect(connect({ properties: props(property.user('a', 'b'), property.user('a', 'b')) }));
  });
});
