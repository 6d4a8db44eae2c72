/** The client library with our own reading and writing, on a real nats-server, beside the library as it is. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect, headers, type Msg, type NatsConnection } from 'nats';
import { headerBlock } from '../../src/nats/raw-message.ts';
import { connectWired } from '../../src/nats/wire/connect.ts';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';

let nats: NatsServerProcess;
let own: NatsConnection;
let plain: NatsConnection;

before(async () => {
  nats = await startNatsServer();
  [own, plain] = await Promise.all([
    connectWired({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 }),
    connect({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 }),
  ]);
});
after(async () => {
  await Promise.all([own.close(), plain.close()]);
  await nats.stop();
});

function shown({ data, headers: lines, reply = '', subject }: Msg): object {
  return { subject, reply, data: Buffer.from(data).toString('latin1'), a: lines?.get('A') ?? '' };
}

/** What both of them get of what `publish` sends. */
async function heard(publish: (from: NatsConnection) => void, from: NatsConnection): Promise<[object[], object[]]> {
  const lists: [object[], object[]] = [[], []];
  const listeners = [own, plain].map((connection, index) =>
    connection.subscribe('wire.>', { callback: (_error, message) => lists[index]?.push(shown(message)) }),
  );
  await Promise.all([own.flush(), plain.flush()]);
  publish(from);
  await from.flush();
  await eventually(async () => {
    await Promise.all([own.flush(), plain.flush()]);
    return lists[0].length > 0 && lists[0].length === lists[1].length;
  });
  for (const listener of listeners) listener.unsubscribe();
  return lists;
}

test('the same messages as with the library, both ways', async () => {
  const lines = headers();
  lines.set('A', 'ü b');
  const publish = (from: NatsConnection): void => {
    for (let number = 0; number < 1_000; number++) from.publish(`wire.many.${number}`, 'x'.repeat(number));
    from.publish('wire.empty');
    from.publish('wire.ü.€', Buffer.from([0, 255, 13, 10]), { reply: 'answer.here' });
    from.publish('wire.headers', 'payload', { headers: lines });
    from.publish('wire.headers.reply', '', { headers: lines, reply: 'answer' });
    from.publish('wire.large', Buffer.alloc(1_000_000, 'l'));
  };
  const [byOwn, byOwnToPlain] = await heard(publish, own);
  const [byPlain, byPlainToPlain] = await heard(publish, plain);
  assert.equal(byOwn.length, 1_005);
  for (const list of [byOwnToPlain, byPlain, byPlainToPlain]) assert.deepEqual(list, byOwn);
});

test('the parts of a message that are read without decoding', async () => {
  const messages: Msg[] = [];
  const listener = own.subscribe('\ufeffmark', { callback: (_error, message) => messages.push(message) });
  await own.flush();
  const lines = headers();
  lines.set('A', 'b');
  plain.publish('\ufeffmark', 'text', { headers: lines });
  plain.publish('\ufeffmark', '{"a":1}');
  await eventually(() => messages.length === 2);
  const [first, second] = messages;
  assert.ok(first !== undefined && second !== undefined);
  assert.equal(first.subject, '\ufeffmark', 'the library drops the U+FEFF');
  assert.equal(headerBlock(first), 'NATS/1.0\r\nA: b\r\n\r\n');
  assert.deepEqual([first.string(), headerBlock(second), second.reply], ['text', '', '']);
  assert.deepEqual(second.json(), { a: 1 });
  assert.equal(second.respond('nobody'), false);
  listener.unsubscribe();
});

test('requests, queue groups, automatic ends and drains of the library work on', async () => {
  const served: string[] = [];
  for (const _ of [0, 1])
    own.subscribe('service', {
      queue: 'q',
      callback: (_error, message) => {
        served.push(message.string());
        message.respond(`re ${message.string()}`);
      },
    });
  await own.flush();
  assert.equal((await plain.request('service', 'one')).string(), 're one');
  assert.equal((await own.request('service', 'two')).string(), 're two');
  assert.deepEqual(served, ['one', 'two']);
  await assert.rejects(own.request('nobody.there', ''), /503/);
  const few: string[] = [];
  own.subscribe('few', { max: 2, callback: (_error, message) => few.push(message.string()) });
  for (const text of ['a', 'b', 'c']) own.publish('few', text);
  await own.flush();
  assert.deepEqual(few, ['a', 'b']);
  const iterated = own.subscribe('iterated');
  own.publish('iterated', 'x');
  await iterated.drain();
  const texts: string[] = [];
  for await (const message of iterated) texts.push(message.string());
  assert.deepEqual(texts, ['x']);
});

test('what is too large is refused before it reaches the server', () => {
  const tooLarge = Buffer.alloc((own.info?.max_payload ?? 0) + 1);
  assert.throws(() => own.publish('large', tooLarge), /MAX_PAYLOAD/);
});

test('what is published just before the connection is closed arrives', async () => {
  const texts: string[] = [];
  plain.subscribe('last', { callback: (_error, message) => texts.push(message.string()) });
  await plain.flush();
  const short = await connectWired({ servers: nats.url });
  short.publish('last', 'word');
  await short.close();
  await eventually(() => texts.length === 1);
  assert.deepEqual(texts, ['word']);
});

test('after a server that was killed, subscriptions are back and a message that was cut in two is not continued', async () => {
  const texts: string[] = [];
  own.subscribe('back.>', { callback: (_error, message) => texts.push(message.string()) });
  await own.flush();
  let reconnects = 0;
  const follow = async (): Promise<void> => {
    for await (const { type } of own.status()) if (type === 'reconnect') reconnects++;
  };
  void follow();
  for (let round = 1; round <= 3; round++) {
    const load = Buffer.alloc(500_000, 'x');
    for (let i = 0; i < 8; i++) plain.publish('back.load', load);
    await nats.kill();
    await nats.start();
    await eventually(() => reconnects === round);
    texts.length = 0;
    await own.flush();
    own.publish('back.again', `round ${round}`);
    await eventually(() => texts.includes(`round ${round}`));
    // A flush fails that finds the library between two attempts to connect.
    await eventually(() =>
      plain.flush().then(
        () => true,
        () => false,
      ),
    );
  }
});

test('a callback that throws is told, and the connection is made anew at once with all subscriptions', async (t) => {
  const printed = t.mock.method(console, 'log', () => {});
  const failures: unknown[] = [];
  const options = { servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 };
  const connection = await connectWired(options, { failed: (cause) => failures.push(cause) });
  const texts: string[] = [];
  const callback = (_error: unknown, message: Msg): void => {
    if (message.string() === 'bad') throw new Error('a defect');
    texts.push(message.string());
  };
  connection.subscribe('throwing', { callback });
  await connection.flush();
  for (let round = 1; round <= 2; round++) {
    plain.publish('throwing', 'bad');
    await eventually(() => failures.length === round);
    // Whatever came in the same chunk is gone with the connection.
    await eventually(async () => {
      plain.publish('throwing', `good ${round}`);
      await plain.flush();
      return texts.includes(`good ${round}`);
    });
  }
  assert.match(String(failures[0]), /a defect/);
  assert.equal(printed.mock.callCount(), 0, 'the library says nothing');
  await connection.close();
});
