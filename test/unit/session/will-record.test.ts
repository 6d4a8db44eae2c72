/** Wills in the store: what is written is read again, whatever it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeWill, delayOf, encodeWill, type WillRecord } from '../../../src/session/will-record.ts';

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
const time = fc.nat(Number.MAX_SAFE_INTEGER);
const anyWill: fc.Arbitrary<WillRecord> = fc.record(
  {
    id: fc.string(),
    topic: fc.string({ unit: 'grapheme' }),
    payload: bytes,
    properties: bytes,
    qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
    retain: fc.boolean(),
    delaySeconds: fc.nat(0xffff_ffff),
    sessionExpirySeconds: fc.nat(0xffff_ffff),
    dueAt: fc.option(time, { nil: undefined }),
    claim: fc.option(fc.record({ by: fc.string(), position: time, at: time }, { noNullPrototype: true }), {
      nil: undefined,
    }),
  },
  { noNullPrototype: true },
);

test('a will is read as it was written', () => {
  fc.assert(fc.property(anyWill, (will) => assert.deepEqual(decodeWill(encodeWill(will)), will)));
});

test('a record of a newer version, or of somebody else, is refused', () => {
  for (const text of ['{"version":2}\n', 'x', '', '{}\n', 'null\n'])
    assert.throws(() => decodeWill(Buffer.from(text)), text);
});

test('MQTT5 section 3.1.3.2.2: the delay ends with the session at the latest', () => {
  const will = { ...fc.sample(anyWill, 1)[0], delaySeconds: 10 } as WillRecord;
  assert.equal(delayOf({ ...will, sessionExpirySeconds: 20 }), 10_000);
  assert.equal(delayOf({ ...will, sessionExpirySeconds: 5 }), 5_000);
  assert.equal(delayOf({ ...will, sessionExpirySeconds: 0xffff_ffff }), 10_000);
});
