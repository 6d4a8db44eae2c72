/** Bytes that wait for one write. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outgoing } from '../../../../src/nats/wire/outgoing.ts';
import { Random } from '../../../support/random.ts';

test('everything comes out in order, once, and what was taken is never written over', () => {
  const random = new Random(3);
  const outgoing = new Outgoing();
  const expected: Buffer[] = [];
  const taken: Uint8Array[] = [];
  for (let i = 0; i < 5_000; i++) {
    const payload = Buffer.alloc(random.below(i % 500 === 0 ? 300_000 : 60), i);
    const line = `PUB topic.ü.${i} ${payload.length}\r\n`;
    outgoing.text(line);
    outgoing.bytes(payload);
    outgoing.lineEnd();
    expected.push(Buffer.from(line), payload, Buffer.from('\r\n'));
    if (random.below(10) === 0) taken.push(outgoing.take());
  }
  taken.push(outgoing.take());
  assert.equal(outgoing.size(), 0);
  assert.ok(Buffer.concat(taken).equals(Buffer.concat(expected)));
});

test('what waited for a lost connection is forgotten', () => {
  const outgoing = new Outgoing();
  outgoing.text('old');
  assert.equal(outgoing.size(), 3);
  outgoing.reset();
  outgoing.text('new');
  assert.equal(Buffer.from(outgoing.take()).toString(), 'new');
});
