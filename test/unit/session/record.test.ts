/** session/record.ts: what is written is what is read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeRecord, encodeRecord, type SessionRecord } from '../../../src/session/record.ts';

const position = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const packetId = fc.integer({ min: 1, max: 65_535 });
const qos12 = fc.constantFrom(1 as const, 2 as const);
const text = fc.string({ unit: 'grapheme' });

const anyRecord: fc.Arbitrary<SessionRecord> = fc.record({
  clientId: text,
  user: text,
  uid: text,
  epoch: position,
  owner: text,
  writes: position,
  expirySeconds: fc.integer({ min: 0, max: 0xffff_ffff }),
  wills: fc.array(text, { maxLength: 3 }),
  log: text,
  subscriptions: fc.array(
    fc.record({
      text,
      options: fc.record({
        qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
        noLocal: fc.boolean(),
        retainAsPublished: fc.boolean(),
        retainHandling: fc.constantFrom(0 as const, 1 as const, 2 as const),
        identifier: fc.integer({ min: 0, max: 268_435_455 }),
      }),
      start: position,
      positions: fc.array(position, { maxLength: 3 }),
      retainedDue: fc.option(position, { nil: undefined }),
      retainedUntil: position,
      retainedDone: fc.array(position, { maxLength: 3 }),
    }),
    { maxLength: 5 },
  ),
  outbound: fc.array(
    fc.record({
      packetId,
      sequence: position,
      qos: qos12,
      state: fc.constantFrom('sent' as const, 'released' as const),
      isRetained: fc.boolean(),
    }),
    { maxLength: 5 },
  ),
  done: fc.array(position, { maxLength: 20 }),
  inbound: fc.array(fc.record({ packetId, messageId: text, position, at: position }), { maxLength: 5 }),
});

/** Without retained messages that are due there are none that are done. */
function consistent(record: SessionRecord): SessionRecord {
  const subscriptions = record.subscriptions.map((subscription) =>
    subscription.retainedDue === undefined
      ? { ...subscription, retainedUntil: undefined, retainedDone: [] }
      : subscription,
  );
  return { ...record, subscriptions };
}

test('record - every record is read back as it was written', () => {
  fc.assert(
    fc.property(anyRecord.map(consistent), (record) =>
      assert.deepEqual(decodeRecord(encodeRecord(record)), structuredClone(record)),
    ),
  );
});

test('record - messages of groups keep their subscription and claim, and those of an ordinary subscription have none', () => {
  const options = { qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0, identifier: 0 } as const;
  const base = fc.sample(anyRecord, 1)[0];
  assert.ok(base !== undefined);
  const record: SessionRecord = {
    ...base,
    subscriptions: ['a', '$share/g/a'].map((name) => ({
      text: name,
      options,
      start: 0,
      positions: [],
      retainedDue: undefined,
      retainedUntil: undefined,
      retainedDone: [],
    })),
    outbound: [
      { packetId: 1, sequence: 7, qos: 2, state: 'sent', isRetained: false },
      {
        packetId: 2,
        sequence: 7,
        qos: 2,
        state: 'sent',
        isRetained: false,
        shared: { text: '$share/g/a', claim: 'token' },
      },
      { packetId: 3, sequence: 8, qos: 2, state: 'released', isRetained: false, shared: { text: '', claim: '' } },
    ],
  };
  assert.deepEqual(decodeRecord(encodeRecord(record)), structuredClone(record));
});

test('record - one that a newer version has written, or that is none, is not guessed at', () => {
  const newer = Buffer.from(JSON.stringify({ version: 2 }));
  assert.throws(() => decodeRecord(newer), /version 2/);
  assert.throws(() => decodeRecord(Buffer.from('no JSON')));
  assert.throws(() => decodeRecord(Buffer.alloc(0)));
});
