/** What nats-server writes, cut at every place. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Incoming } from '../../../../src/nats/wire/incoming.ts';
import { WireMessage } from '../../../../src/nats/wire/message.ts';
import { Random } from '../../../support/random.ts';

const nobody = { publish: () => assert.fail('nobody answers') };
const headers = 'NATS/1.0\r\nA: b\r\n\r\n';

/** What was handed out, as text. */
function reader(): { incoming: Incoming; seen: string[] } {
  const seen: string[] = [];
  const incoming = new Incoming({
    line: (line) => seen.push(line),
    message: (chunk, places) => {
      const { data, headerBlock, reply, sid, subject } = new WireMessage(chunk, places, nobody);
      seen.push([sid, subject, reply, headerBlock, Buffer.from(data).toString('latin1')].join('|'));
    },
  });
  return { incoming, seen };
}

const stream = Buffer.from(
  [
    'INFO {"server":"ü"}\r\nPING\r\n',
    'MSG a.b 1 0\r\n\r\n',
    'MSG \ufeffü.x 12 _INBOX.re.17 5\r\nab\r\nc\r\n',
    `HMSG h 3 ${headers.length} ${headers.length + 2}\r\n${headers}xy\r\n`,
    `HMSG h 3 reply ${headers.length} ${headers.length}\r\n${headers}\r\n`,
    'MSG digits.9 4 77 3\r\nMSG\r\n',
    `-ERR 'Permissions Violation'\r\n+OK\r\nPONG\r\n`,
  ].join(''),
);
const expected = [
  'INFO {"server":"ü"}',
  'PING',
  '1|a.b|||',
  '12|\ufeffü.x|_INBOX.re.17||ab\r\nc',
  `3|h||${headers}|xy`,
  `3|h|reply|${headers}|`,
  '4|digits.9|77||MSG',
  "-ERR 'Permissions Violation'",
  '+OK',
  'PONG',
];

test('whole, in two at every place, and byte by byte', () => {
  for (let cut = 0; cut <= stream.length; cut++) {
    const { incoming, seen } = reader();
    incoming.parse(stream.subarray(0, cut));
    incoming.parse(stream.subarray(cut));
    assert.deepEqual(seen, expected, `cut at ${cut}`);
  }
  const { incoming, seen } = reader();
  for (const byte of stream) incoming.parse(Uint8Array.of(byte));
  assert.deepEqual(seen, expected);
});

test('many messages of all sizes in pieces of all sizes', () => {
  const random = new Random(7);
  const sent = Array.from({ length: 2_000 }, (_, number) => {
    const payload = Buffer.alloc(random.below(number % 50 === 0 ? 200_000 : 300), number);
    return { line: `MSG s.${number} ${number + 1} ${payload.length}\r\n`, payload };
  });
  const all = Buffer.concat(sent.flatMap(({ line, payload }) => [Buffer.from(line), payload, Buffer.from('\r\n')]));
  const { incoming, seen } = reader();
  for (let at = 0; at < all.length; ) {
    const end = at + 1 + random.below(90_000);
    incoming.parse(all.subarray(at, end));
    at = end;
  }
  const wanted = sent.map(({ payload }, number) => [number + 1, `s.${number}`, '', '', payload.toString('latin1')]);
  assert.deepEqual(
    seen,
    wanted.map((fields) => fields.join('|')),
  );
});

test('a new connection does not continue what the old one began', () => {
  const { incoming, seen } = reader();
  incoming.parse(Buffer.from('MSG a 1 100\r\nhalf'));
  incoming.reset();
  incoming.parse(Buffer.from('PING\r\n'));
  assert.deepEqual(seen, ['PING']);
});

test('what no nats-server writes is an error, not a wait without an end', () => {
  const bad = [
    'MSG a x 1\r\n\r\n',
    'MSG a 1 1x\r\n\r\n',
    'MSG a 1\r\n\r\n',
    'HMSG a 1 9 3\r\nabc\r\n',
    'MSG a 0 1\r\na\r\n',
  ];
  for (const text of bad)
    assert.throws(() => reader().incoming.parse(Buffer.from(text)), /cannot be read/, JSON.stringify(text));
  const { incoming } = reader();
  const endless = Buffer.alloc(64 * 1024, 'I');
  assert.throws(() => {
    for (let i = 0; i < 32; i++) incoming.parse(endless);
  }, /without an end/);
});

test('the number behind a prefix of the subject', () => {
  const numbers: number[] = [];
  const incoming = new Incoming({
    line: () => assert.fail(),
    message: (chunk, places) => numbers.push(new WireMessage(chunk, places, nobody).numberAfter(3)),
  });
  incoming.parse(Buffer.from(['in.120345', 'in.', 'in.7x', 'in', 'in.0'].map((s) => `MSG ${s} 1 0\r\n\r\n`).join('')));
  assert.deepEqual(numbers, [120_345, Number.NaN, Number.NaN, Number.NaN, 0]);
});
