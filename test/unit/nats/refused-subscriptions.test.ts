/** Verdicts of NATS about subscriptions, in the orders in which questions and answers can cross. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { systemClock } from '../../../src/clock.ts';
import { makeCounters } from '../../../src/counters.ts';
import { RefusedSubscriptions } from '../../../src/nats/refused-subscriptions.ts';
import { readRefusedSubscription, saysTooManySubscriptions } from '../../../src/nats/wire/refused-line.ts';

const refusal = { subject: 'a', queue: undefined };

function make(): RefusedSubscriptions {
  return new RefusedSubscriptions({
    counters: makeCounters(),
    clock: systemClock,
    log: pino({ level: 'silent' }),
    inboxPrefix: '_INBOX',
  });
}

test('refused subscriptions - asked again, one stays refused until a flush behind the question brings no refusal', () => {
  const refusals = make();
  refusals.hold('a');
  assert.equal(refusals.refused(refusal), true);
  const early = refusals.judging();
  refusals.hold('a');
  early();
  assert.equal(refusals.refusalOf('a'), 'forbidden', 'a flush that began before says nothing');
  const late = refusals.judging();
  assert.equal(refusals.refusalOf('a'), 'forbidden');
  late();
  assert.equal(refusals.refusalOf('a'), undefined);
});

test('refused subscriptions - a second refusal before the flush is back', () => {
  const refusals = make();
  refusals.hold('a');
  refusals.refused(refusal);
  refusals.hold('a');
  const judged = refusals.judging();
  refusals.refused(refusal);
  judged();
  assert.equal(refusals.refusalOf('a'), 'forbidden');
  refusals.drop('a');
  assert.equal(refusals.refusalOf('a'), 'forbidden', 'somebody else holds it');
  refusals.drop('a');
  assert.equal(refusals.refusalOf('a'), undefined);
  assert.equal(refusals.isEmpty, true, 'nothing is kept of what nobody holds');
});

test('refused subscriptions - one that nobody holds any more is told of and not kept; one of the node itself is none of them', () => {
  const refusals = make();
  refusals.hold('a');
  refusals.drop('a');
  assert.equal(refusals.refused(refusal), true);
  assert.equal(refusals.isEmpty, true);
  assert.equal(refusals.refused({ subject: '_INBOX.a.*', queue: undefined }), false);
});

test('refused subscriptions - a queue group has a verdict of its own', () => {
  const refusals = make();
  const key = RefusedSubscriptions.keyOf('a', 'group');
  refusals.hold('a');
  refusals.hold(key);
  refusals.refused({ subject: 'a', queue: 'group' });
  assert.deepEqual([refusals.refusalOf('a'), refusals.refusalOf(key)], [undefined, 'forbidden']);
});

test('refused subscriptions - what is lifted is told once, for all that hold it', () => {
  const refusals = make();
  const lifted: string[][] = [];
  refusals.lifted = (keys) => lifted.push([...keys]);
  for (const key of ['a', 'a', 'b']) refusals.hold(key);
  refusals.refused(refusal);
  refusals.judging()();
  assert.deepEqual(lifted, [], 'nobody has asked again');
  refusals.hold('a');
  refusals.judging()();
  refusals.judging()();
  assert.deepEqual(lifted, [['a']]);
});

test('refused subscriptions - a new connection asks for all of them', () => {
  const refusals = make();
  refusals.hold('a');
  refusals.refused(refusal);
  refusals.disconnected();
  const judged = refusals.judging();
  judged();
  assert.equal(refusals.refusalOf('a'), undefined);
});

test('refused subscriptions - one too many is any of those that no flush has confirmed', () => {
  const refusals = make();
  for (const key of ['a', 'b']) refusals.hold(key);
  const judged = refusals.judging();
  refusals.hold('c');
  refusals.hold('b');
  judged();
  refusals.exceeded();
  assert.deepEqual(
    ['a', 'b', 'c'].map((key) => refusals.refusalOf(key)),
    [undefined, 'tooMany', 'tooMany'],
  );
  refusals.drop('c');
  refusals.judging()();
  assert.equal(refusals.refusalOf('b'), 'tooMany', 'nobody has asked again');
  refusals.askAgain('b');
  refusals.judging()();
  assert.equal(refusals.isEmpty, true);
  refusals.judging()();
  refusals.exceeded();
  assert.equal(refusals.isEmpty, true, 'all are confirmed');
});

test('refused subscriptions - one too many is not what others had before, unless each is on his own', () => {
  const refusals = make();
  const member = RefusedSubscriptions.keyOf('a', 'group');
  for (const key of ['a', member]) refusals.hold(key);
  refusals.judging()();
  for (const key of ['a', 'a.>', member]) refusals.hold(key);
  refusals.exceeded();
  assert.deepEqual(
    ['a', 'a.>', member].map((key) => refusals.refusalOf(key)),
    [undefined, 'tooMany', 'tooMany'],
  );
  refusals.hold('b');
  refusals.judging()();
  refusals.exceeded();
  assert.equal(refusals.refusalOf('b'), undefined, 'a verdict has been found for that line');
});

test('refused subscriptions - what is lifted and asked for again with it may be one too many', () => {
  const refusals = make();
  for (const key of ['a', 'a']) refusals.hold(key);
  refusals.exceeded();
  refusals.askAgain('a');
  refusals.judging()();
  assert.equal(refusals.refusalOf('a'), undefined);
  refusals.exceeded();
  assert.equal(refusals.refusalOf('a'), 'tooMany');
  refusals.askAgain('a');
  refusals.exceeded();
  refusals.judging()();
  assert.equal(refusals.refusalOf('a'), 'tooMany', 'one of both has asked, and NATS may have neither');
});

test('refused subscriptions - on a new connection any of them may be one too many, until a flush there', () => {
  const refusals = make();
  for (const key of ['a', 'b']) refusals.hold(key);
  refusals.judging()();
  refusals.disconnected();
  refusals.exceeded();
  assert.deepEqual([refusals.refusalOf('a'), refusals.refusalOf('b')], ['tooMany', 'tooMany']);
  refusals.disconnected();
  refusals.judging()();
  refusals.exceeded();
  assert.equal(refusals.isEmpty, false);
  refusals.judging()();
  assert.equal(refusals.refusalOf('b'), 'tooMany', 'what was lifted is asked for once more, and a line came');
});

test('refused subscriptions - what the server writes, as Go quotes it', () => {
  const read = (text: string): unknown =>
    readRefusedSubscription(`'Permissions Violation for Subscription to ${text}'`);
  assert.deepEqual(read('"a.b"'), { subject: 'a.b', queue: undefined });
  assert.deepEqual(read('"a.*" using queue "g"'), { subject: 'a.*', queue: 'g' });
  assert.deepEqual(read('"a" (sid "17")'), { subject: 'a', queue: undefined });
  assert.deepEqual(read('"a\\"b\\\\" using queue "\\x7f\\u00a0\\U000e0001\\a"'), {
    subject: 'a"b\\',
    queue: '\u007f\u00a0\u{e0001}\u0007',
  });
  assert.equal(readRefusedSubscription(`'Permissions Violation for Publish to "a"'`), undefined);
  assert.equal(saysTooManySubscriptions(`'maximum subscriptions exceeded'`), true);
  assert.equal(saysTooManySubscriptions(`'maximum connections exceeded'`), false);
  assert.equal(readRefusedSubscription(`'Unknown Protocol Operation'`), undefined);
});
