/** Answers of a batched direct get, taken apart: what the server says counts, whatever a publisher has written before it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DirectAnswer, readDirectAnswer } from '../../../src/nats/direct-answer.ts';
import { WireMessage } from '../../../src/nats/wire/message.ts';

const nobody = { publish: () => assert.fail('nobody answers') };
const added = [
  'Nats-Stream: SMQ_LOG',
  'Nats-Subject: $SMQ.log.a.ü',
  'Nats-Sequence: 4294967297',
  'Nats-Time-Stamp: 2026-11-28T18:58:16.42Z',
  'Nats-Num-Pending: 9',
  'Nats-Last-Sequence: 12',
];

/** As it comes: behind something else in its chunk. */
function messageOf(lines: readonly string[], payload: string, status = 'NATS/1.0'): WireMessage {
  const [before, block] = ['PING\r\n', `${[status, ...lines].join('\r\n')}\r\n\r\n`];
  const chunk = Buffer.from(before + block + payload);
  const content = before.length;
  const places = { sid: 1, subject: 0, subjectEnd: 0, reply: 0, replyEnd: 0, content };
  const start = content + Buffer.byteLength(block);
  return new WireMessage(chunk, { ...places, payload: start, end: chunk.length }, nobody);
}

function read(lines: readonly string[], payload: string, status?: string): DirectAnswer {
  const answer = readDirectAnswer(messageOf(lines, payload, status));
  assert.ok(answer !== undefined);
  return answer;
}

/** What it says, as text. */
function parts({ chunk, end, linesEnd, payload, previous, sequence, start, ...more }: DirectAnswer): unknown[] {
  return [
    chunk.toString('utf8', start, linesEnd),
    chunk.toString('utf8', more.subject, more.subjectEnd),
    sequence,
    chunk.toString('utf8', more.time, more.timeEnd),
    previous,
    chunk.toString('utf8', payload, end),
  ];
}

const said = ['$SMQ.log.a.ü', 4_294_967_297, '2026-11-28T18:58:16.42Z', 12];

test('direct answer - the lines of the publisher, what the server has added, the payload', () => {
  assert.deepEqual(parts(read(added, 'text')), ['NATS/1.0\r\n', ...said, 'text']);
  const own = ['Mqtt-Origin: me', 'Nats-Msg-Id: 7'];
  assert.deepEqual(parts(read([...own, ...added], '')), [`NATS/1.0\r\n${own.join('\r\n')}\r\n`, ...said, '']);
});

test('direct answer - lines of the same names that a publisher has copied change nothing', () => {
  const copied = added.map((line) => line.replace(/[1-9]/g, '8').replace('SMQ', 'XXX'));
  for (const own of [copied, [...copied].reverse(), [...copied, 'Nats-', 'N', ''], copied.slice(1)])
    assert.deepEqual(parts(read([...own, ...added], 'x')).slice(1), [...said, 'x']);
});

test('direct answer - what the server does not say is not taken from nowhere', () => {
  const { previous, sequence, subject, subjectEnd } = read(['Nats-Stream: SMQ_LOG', 'Nats-Sequence: 1x'], 'x');
  assert.deepEqual([previous, sequence, subjectEnd - subject], [undefined, Number.NaN, 0]);
});

test('direct answer - a status with a code ends the batch, unless a payload shows that it is a message', () => {
  for (const status of ['NATS/1.0 204 EOB', 'NATS/1.0 404 Message Not Found', 'NATS/1.0 408 Bad Request'])
    assert.equal(readDirectAnswer(messageOf(['Nats-Num-Pending: 0'], '', status)), undefined);
  assert.deepEqual(parts(read(added, 'x', 'NATS/1.0 404')), ['NATS/1.0 404\r\n', ...said, 'x']);
});
