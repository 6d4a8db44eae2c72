/**
 * The mapping against a real nats-server: its own MQTT gateway puts the same topics on the same subjects, its matcher agrees with
 * MQTT's on all others, and no topic, filter or group name harms the connection it travels on.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connectAsync, type MqttClient } from 'mqtt';
import { connect as connectNats, type Msg, type NatsConnection } from 'nats';
import { isTopicFilter, isTopicName, parseFilter, startsWithWildcard, topicMatches } from '../../src/mqtt/topic.ts';
import { encodeGroup, MAX_SUBJECT_BYTES, SubjectMap } from '../../src/nats/subject.ts';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { freePort } from '../support/ports.ts';

const TOPICS = 4_000;
const subjects = new SubjectMap('');

let server: NatsServerProcess;
let application: NatsConnection;
let mqtt: MqttClient;

before(async () => {
  const port = await freePort();
  server = await startNatsServer({ jetstream: true, extraConfig: `mqtt { listen: "127.0.0.1:${port}" }` });
  application = await connectNats({ servers: server.url, reconnect: false });
  mqtt = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4, reconnectPeriod: 0 });
});
after(async () => {
  await mqtt.endAsync(true);
  await application.close();
  await server.stop();
});

/** Numbers below `bound`, the same ones in each run (mulberry32). */
function randomNumbers(seed: number): (bound: number) => number {
  return (bound) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

/** Different topics of one to twelve of `characters`, without `$` in front: that is nats-server's own ground. */
function randomTopics(count: number, characters: readonly string[], seed: number): string[] {
  const random = randomNumbers(seed);
  const topics = new Set<string>();
  while (topics.size < count) {
    const topic = Array.from({ length: 1 + random(12) }, () => characters[random(characters.length)]).join('');
    if (!topic.startsWith('$')) topics.add(topic);
  }
  return [...topics];
}

function encode(topic: string): string {
  const subject = subjects.encodeTopic(topic);
  assert.ok(subject !== undefined, JSON.stringify(topic));
  return subject;
}

function rawSubject(message: Msg): string {
  // The library's own decoding drops a U+FEFF in front.
  const { _msg: raw } = message as unknown as { _msg: { subject: Uint8Array } };
  return Buffer.from(raw.subject).toString();
}

/** Rejects when the server has closed the connection: a flush would never come back then. */
async function flush(): Promise<void> {
  const closed = application.closed().then(() => assert.fail(`connection closed: ${server.log().slice(-500)}`));
  await Promise.race([application.flush(), closed]);
}

/** Publishes each topic through nats-server's MQTT port, its index as payload, and returns the subjects NATS shows. */
async function subjectsOfGateway(topics: readonly string[]): Promise<string[]> {
  const shown: string[] = [];
  let count = 0;
  const subscription = application.subscribe('>', {
    callback: (_error, message) => {
      const subject = rawSubject(message);
      // what the gateway does for itself
      if (subject.startsWith('$')) return;
      shown[Number(message.string())] = subject;
      count++;
    },
  });
  await flush();
  for (const [index, topic] of topics.entries()) mqtt.publish(topic, String(index), { qos: 0 });
  await eventually(() => count >= topics.length, `${topics.length} messages`);
  subscription.unsubscribe();
  return shown;
}

/** Subjects that arrive at subscriptions to `patterns`, once `published` has gone out on the same connection. */
async function arrivals(patterns: readonly string[], published: readonly string[]): Promise<string[]> {
  const arrived: string[] = [];
  const subscriptions = patterns.map((pattern) =>
    application.subscribe(pattern, { callback: (_error, message) => arrived.push(rawSubject(message)) }),
  );
  for (const subject of published) application.publish(subject);
  // What the server has sent on this connection before its PONG is here before it.
  await flush();
  for (const subscription of subscriptions) subscription.unsubscribe();
  return arrived.sort();
}

test('nats-server puts its own fixtures where we do', async () => {
  const fixtures: Array<[topic: string, subject: string]> = [
    ['foo', 'foo'],
    ['foo/bar', 'foo.bar'],
    ['/', '/./'],
    ['//', '/././'],
    ['///', '/./././'],
    ['/foo', '/.foo'],
    ['//foo', '/./.foo'],
    ['///foo///', '/././.foo./././'],
    ['//.foo.//', '/././/foo//././'],
    ['foo/', 'foo./'],
    ['foo//', 'foo././'],
    ['foo//bar', 'foo./.bar'],
    ['foo////bar', 'foo./././.bar'],
    ['/foo/bar/', '/.foo.bar./'],
    ['.', '//'],
    ['...', '//////'],
    ['./', '//./'],
    ['.//.', '//././/'],
    ['././/.', '//.//././/'],
    ['.foo.', '//foo//'],
    ['foo.bar', 'foo//bar'],
    ['foo.bar/baz', 'foo//bar.baz'],
    ['foo../bar/.', 'foo////.bar.//'],
  ];
  const shown = await subjectsOfGateway(fixtures.map(([topic]) => topic));
  for (const [index, [topic, subject]] of fixtures.entries()) {
    assert.equal(shown[index], subject, topic);
    assert.equal(encode(topic), subject, topic);
  }
});

test('[MQTT5 4.7.3-4] [MQTT311 4.7.3-4] 4,000 random topics that nats-server takes are on the same subjects', async () => {
  // Left out: what it refuses (space, tab, LF, FF, CR, DEL) and what it does not escape (`*`, `>`, other control characters).
  const characters = [...'////....aB0129AF$_%~"\\{}-', 'é', '日', '🦆', '\x80', '\xa0', '\uFEFF', '\u2028'];
  const topics = randomTopics(TOPICS, characters, 1);
  const shown = await subjectsOfGateway(topics);
  for (const [index, topic] of topics.entries()) {
    assert.equal(shown[index], encode(topic), JSON.stringify(topic));
    assert.equal(subjects.decodeSubject(shown[index] ?? ''), topic);
  }
});

test('[MQTT5 4.7.3-4] [MQTT311 4.7.3-4] 4,000 random topics of any characters arrive on their subject, and on no other', async () => {
  const characters = [...'////....**>> \t\r\n\f\x01\x7f2A$_', 'é', '日', '🦆', '\uFEFF'];
  const sent = randomTopics(TOPICS, characters, 2);
  const arrived = await arrivals(['>'], sent.map(encode));
  assert.deepEqual(arrived, sent.map(encode).sort());
  assert.deepEqual(arrived.map((subject) => subjects.decodeSubject(subject) ?? '').sort(), [...sent].sort());
});

test('[MQTT5 4.7.1-1] [MQTT5 4.7.1-2] [MQTT5 4.7.2-1] NATS finds for each filter what MQTT matches, each message once', async () => {
  const random = randomNumbers(3);
  const levels = ['', 'a', 'b.', '*', '>', 'a b', '$x', '_INBOX'];
  const path = (from: readonly string[]): string =>
    Array.from({ length: 1 + random(4) }, () => from[random(from.length)]).join('/');
  const topics = [...new Set(Array.from({ length: 800 }, () => path(levels)))].filter(isTopicName);
  const filters = ['#', '+', '/#', '+/#', '+/+', '/+', 'a/#', '*/#', '$x/#', '_INBOX/#'];
  for (let i = 0; i < 150; i++) filters.push(path([...levels, '+', '+', '+']), `${path([...levels, '+', '+'])}/#`);
  const published = topics.map(encode);
  for (const filter of filters.filter(isTopicFilter)) {
    const arrived = await arrivals(subjects.encodeFilter(filter) ?? [], published);
    const isOpen = startsWithWildcard(filter);
    const seen = arrived.filter((subject) => !(isOpen && subjects.startsWithHidden(subject)));
    const expected = topics
      .filter((topic) => topicMatches(filter, topic))
      .map(encode)
      // A rule of ours beyond MQTT's: inboxes are behind the wall too.
      .filter((subject) => !(isOpen && subjects.startsWithHidden(subject)));
    assert.deepEqual(seen, expected.sort(), filter);
  }
});

test('[MQTT5 4.8.2-1] [MQTT5 4.8.2-2] the longest filters with the longest group names fit into a line', async () => {
  const names = [
    'n'.repeat(512),
    'n'.repeat(60_000),
    ' '.repeat(9_000),
    '日'.repeat(9_000),
    '_sys_',
    'a\tb',
    '\r\nPUB x 0\r\n',
  ];
  const deepest = Array.from({ length: 256 }, () => ' '.repeat(3)).join('/');
  for (const filter of ['a'.repeat(MAX_SUBJECT_BYTES), '🦆'.repeat(750), deepest]) {
    const subject = encode(filter);
    for (const name of names) {
      assert.equal(parseFilter(`$share/${name}/${filter}`.slice(0, 65_535))?.group, name);
      let count = 0;
      const member = { queue: encodeGroup(name), callback: () => count++ };
      const members = [application.subscribe(subject, member), application.subscribe(subject, member)];
      for (let i = 0; i < 10; i++) application.publish(subject, undefined, { reply: '_INBOX.a.reply.subject' });
      await flush();
      assert.equal(count, 10, 'each message at one member');
      for (const subscription of members) subscription.unsubscribe();
    }
  }
  assert.equal(application.isClosed(), false);
  assert.doesNotMatch(server.log(), /\[ERR\]/);
});
