/** What a client may not send: each breach of a rule on rare packets with the reason code that answers it. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ProtocolVersion } from '../../../src/mqtt/packet.ts';
import {
  validateAuth,
  validateDisconnect,
  validatePingreq,
  validateSubscribe,
  validateUnsubscribe,
} from '../../../src/mqtt/validate.ts';
import { badStrings, bodyOffset, bytes, type Part, packet, property, props, refusal, str, u16 } from './bytes.ts';

type Case = readonly [title: string, reason: number, frame: Buffer];

function refuses(cases: readonly Case[], validate: (frame: Buffer) => unknown): void {
  for (const [title, reason, frame] of cases) {
    test(`${title}: 0x${reason.toString(16)}`, () => {
      assert.throws(() => validate(frame), refusal(reason));
    });
  }
}

describe('SUBSCRIBE', () => {
  const subscribe = (...body: readonly Part[]) => packet(0x82, u16(1), props(), ...body);
  const subscribe4 = (...body: readonly Part[]) => packet(0x82, u16(1), ...body);
  const validate = (version: ProtocolVersion) => (frame: Buffer) =>
    validateSubscribe(version, frame, bodyOffset(frame));

  describe('of MQTT 5', () => {
    refuses(
      [
        ['[MQTT5 3.8.1-1] flags 0000', 0x81, packet(0x80, u16(1), props(), str('a'), 0)],
        ['[MQTT5 3.8.1-1] flags 1010', 0x81, packet(0x8a, u16(1), props(), str('a'), 0)],
        ['[MQTT5 2.2.1-3] packet id 0', 0x82, packet(0x82, u16(0), props(), str('a'), 0)],
        ['[MQTT5 §1.2] no packet id', 0x81, packet(0x82)],
        ['[MQTT5 3.8.3-2] no filter', 0x82, subscribe()],
        ['[MQTT5 4.7.3-1] empty filter', 0x81, subscribe(str(''), 0)],
        ['[MQTT5 §1.2] filter without options', 0x81, subscribe(str('a'))],
        ['[MQTT5 §1.2] second filter cut short', 0x81, subscribe(str('a'), 0, 0)],
        ['[MQTT5 3.8.3-5] reserved bit 6', 0x81, subscribe(str('a'), 0x40)],
        ['[MQTT5 3.8.3-5] reserved bit 7', 0x81, subscribe(str('a'), 0x80)],
        ['[MQTT5 §3.8.3.1] QoS 3', 0x82, subscribe(str('a'), 3)],
        ['[MQTT5 §3.8.3.1] Retain Handling 3', 0x82, subscribe(str('a'), 0x30)],
        ['[MQTT5 3.8.3-4] No Local on $share', 0x82, subscribe(str('$share/g/a'), 4)],
        ['[MQTT5 3.8.3-4] No Local on $g', 0x82, subscribe(str('a'), 4, str('$g/g/a'), 5)],
        [
          '[MQTT5 §3.8.2.1.2] Subscription Identifier 0',
          0x82,
          packet(0x82, u16(1), props(property.subscriptionIdentifier(0)), str('a'), 0),
        ],
        [
          '[MQTT5 §3.8.2.1.2] two Subscription Identifiers',
          0x82,
          packet(
            0x82,
            u16(1),
            props(property.subscriptionIdentifier(1), property.subscriptionIdentifier(2)),
            str('a'),
            0,
          ),
        ],
        [
          '[MQTT5 1.5.5-1] Subscription Identifier of five bytes',
          0x81,
          packet(0x82, u16(1), props(11, 128, 128, 128, 128, 1), str('a'), 0),
        ],
        [
          '[MQTT5 §2.2.2.2 misplaced] Reason String',
          0x81,
          packet(0x82, u16(1), props(property.reasonString('r')), str('a'), 0),
        ],
        ['[MQTT5 §2.2.2.1] property length overruns the packet', 0x81, packet(0x82, u16(1), 9, str('a'), 0)],
        ...badStrings.map(
          (bad): Case => [`[MQTT5 3.8.3-1] filter with ${bad.what}`, 0x81, subscribe(str(bad.bytes), 0)],
        ),
      ],
      validate(5),
    );
  });

  describe('of MQTT 3.1.1', () => {
    refuses(
      [
        ['[MQTT311 3.8.1-1] flags 0000', 0x81, packet(0x80, u16(1), str('a'), 0)],
        ['[MQTT311 2.3.1-1] packet id 0', 0x82, packet(0x82, u16(0), str('a'), 0)],
        ['[MQTT311 3.8.3-3] no filter', 0x82, subscribe4()],
        ['[MQTT311 4.7.3-1] empty filter', 0x81, subscribe4(str(''), 0)],
        ['[MQTT311 3.8.3-4] QoS 3', 0x81, subscribe4(str('a'), 3)],
        ['[MQTT311 3.8.3-4] reserved bit 2', 0x81, subscribe4(str('a'), 4)],
        ['[MQTT311 3.8.3-4] reserved bit 7', 0x81, subscribe4(str('a'), 0x80)],
        ...badStrings.map(
          (bad): Case => [`[MQTT311 3.8.3-1] filter with ${bad.what}`, 0x81, subscribe4(str(bad.bytes), 0)],
        ),
      ],
      validate(4),
    );
  });

  test('what is right, or only a bad filter, passes', () => {
    validate(5)(subscribe(str('a'), 0x2e, str('$share/g/a'), 0x1a, str('$shared'), 4));
    validate(5)(subscribe(str('a#'), 0));
    validate(4)(subscribe4(str('a'), 0, str('$share/g/+'), 2));
  });
});

describe('UNSUBSCRIBE', () => {
  const validate = (version: ProtocolVersion) => (frame: Buffer) =>
    validateUnsubscribe(version, frame, bodyOffset(frame));

  describe('of MQTT 5', () => {
    refuses(
      [
        ['[MQTT5 3.10.1-1] flags 0000', 0x81, packet(0xa0, u16(1), props(), str('a'))],
        ['[MQTT5 2.2.1-3] packet id 0', 0x82, packet(0xa2, u16(0), props(), str('a'))],
        ['[MQTT5 3.10.3-2] no filter', 0x82, packet(0xa2, u16(1), props())],
        ['[MQTT5 4.7.3-1] empty filter', 0x81, packet(0xa2, u16(1), props(), str(''))],
        ['[MQTT5 §1.2] filter runs past the packet', 0x81, packet(0xa2, u16(1), props(), 0, 2, 0x61)],
        ['[MQTT5 §1.2] half a length behind the last filter', 0x81, packet(0xa2, u16(1), props(), str('a'), 0)],
        [
          '[MQTT5 §2.2.2.2 misplaced] Subscription Identifier',
          0x81,
          packet(0xa2, u16(1), props(property.subscriptionIdentifier(1)), str('a')),
        ],
        ...badStrings.map(
          (bad): Case => [
            `[MQTT5 3.10.3-1] filter with ${bad.what}`,
            0x81,
            packet(0xa2, u16(1), props(), str(bad.bytes)),
          ],
        ),
      ],
      validate(5),
    );
  });

  describe('of MQTT 3.1.1', () => {
    refuses(
      [
        ['[MQTT311 3.10.1-1] flags 1111', 0x81, packet(0xaf, u16(1), str('a'))],
        ['[MQTT311 2.3.1-1] packet id 0', 0x82, packet(0xa2, u16(0), str('a'))],
        ['[MQTT311 3.10.3-2] no filter', 0x82, packet(0xa2, u16(1))],
        ...badStrings.map(
          (bad): Case => [`[MQTT311 3.10.3-1] filter with ${bad.what}`, 0x81, packet(0xa2, u16(1), str(bad.bytes))],
        ),
      ],
      validate(4),
    );
  });

  test('several filters pass', () => {
    validate(5)(packet(0xa2, u16(1), props(property.user('a', 'b')), str('a'), str('b')));
    validate(3)(packet(0xa2, u16(1), str('a'), str('b')));
  });
});

describe('PINGREQ', () => {
  refuses(
    [
      ['[MQTT5 2.1.3-1] [MQTT311 2.2.2-2] flags 0001', 0x81, packet(0xc1)],
      ['[MQTT5 §3.12] [MQTT311 §3.12] with a payload', 0x81, packet(0xc0, 0)],
    ],
    (frame) => validatePingreq(frame, bodyOffset(frame)),
  );
  test('without a body passes', () => validatePingreq(packet(0xc0), 2));
});

describe('DISCONNECT', () => {
  const validate = (version: ProtocolVersion) => (frame: Buffer) =>
    validateDisconnect(version, frame, bodyOffset(frame));

  refuses(
    [
      ['[MQTT5 3.14.1-1] flags 0010', 0x81, packet(0xe2)],
      ['[MQTT5 3.14.2-1] unknown reason code', 0x82, packet(0xe0, 0x01)],
      ['[MQTT5 3.14.2-1] reason code of a server', 0x82, packet(0xe0, 0x8e, props())],
      ['[MQTT5 §1.2] bytes behind the properties', 0x81, packet(0xe0, 0, props(), 0)],
      ['[MQTT5 §2.2.2.1] property length overruns the packet', 0x81, packet(0xe0, 0, 5)],
      ['[MQTT5 §2.2.2.2 misplaced] Will Delay', 0x81, packet(0xe0, 0, props(property.willDelay(1)))],
      [
        '[MQTT5 §2.2.2.2 misplaced] Session Expiry twice',
        0x82,
        packet(0xe0, 0, props(property.sessionExpiry(1), property.sessionExpiry(1))),
      ],
      [
        '[MQTT5 §3.14.2.2.5] Server Reference from a client',
        0x82,
        packet(0xe0, 0, props(property.serverReference('x'))),
      ],
      ['[MQTT5 1.5.4-2] Reason String with U+0000', 0x81, packet(0xe0, 0, props(property.reasonString('\0')))],
    ],
    validate(5),
  );
  refuses(
    [
      ['[MQTT311 3.14.1-1] flags 0001', 0x81, packet(0xe1)],
      ['[MQTT311 §3.14] with a body', 0x81, packet(0xe0, 0)],
    ],
    validate(4),
  );

  test('[MQTT5 §3.14.2] short and long forms pass', () => {
    for (const frame of [
      packet(0xe0),
      packet(0xe0, 4),
      packet(0xe0, 0, props()),
      packet(0xe0, 0, props(property.sessionExpiry(9))),
    ]) {
      validate(5)(frame);
    }
    validate(4)(packet(0xe0));
  });
});

describe('AUTH', () => {
  const validate = (version: ProtocolVersion) => (frame: Buffer) => validateAuth(version, frame, bodyOffset(frame));
  const method = property.authenticationMethod('m');

  refuses(
    [
      ['[MQTT5 3.15.1-1] flags 0001', 0x81, packet(0xf1, 0x18, props(method))],
      ['[MQTT5 3.15.2-1] reason code 0x17', 0x82, packet(0xf0, 0x17, props(method))],
      ['[MQTT5 3.15.2-1] success from a client', 0x82, packet(0xf0, 0, props(method))],
      ['[MQTT5 3.15.2-1] success from a client, short form', 0x82, packet(0xf0)],
      ['[MQTT5 §1.2] no properties', 0x81, packet(0xf0, 0x18)],
      ['[MQTT5 §3.15.2.2.2] no method', 0x82, packet(0xf0, 0x18, props())],
      ['[MQTT5 §3.15.2.2.2] method twice', 0x82, packet(0xf0, 0x18, props(method, method))],
      ['[MQTT5 §3.15.2.2.3] data without a method', 0x82, packet(0xf0, 0x18, props(property.authenticationData('d')))],
      ['[MQTT5 §1.2] bytes behind the properties', 0x81, packet(0xf0, 0x18, props(method), 0)],
      ['[MQTT5 §2.2.2.2 misplaced] Session Expiry', 0x81, packet(0xf0, 0x18, props(method, property.sessionExpiry(1)))],
    ],
    validate(5),
  );
  refuses([['[MQTT311 §2.2.1] from a 3.1.1 client', 0x81, packet(0xf0, 0x18, props(method))]], validate(4));

  test('with a method passes', () => {
    validate(5)(packet(0xf0, 0x18, props(method, property.authenticationData(bytes(0, 1)))));
    validate(5)(packet(0xf0, 0x19, props(method, property.user('a', 'b'))));
  });
});
