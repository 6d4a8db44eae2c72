/**
 * A hostile MQTT client against a real nats-server on which somebody hears everything: whatever it names in topics, filters, wills, response
 * topics, aliases and client ids, NATS sees nothing but what the mapping allows, and the client sees nothing of what is not MQTT's.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NatsConnection } from 'nats';
import { connectWired } from '../../src/nats/wire/connect.ts';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { Random } from '../support/random.ts';
import { RawClient } from '../support/raw-client.ts';

const SEED = 20_261_128;
const GENERATED = 400;
const INBOX = '_INBOX_edge';

/** What is not for devices, as MQTT and as NATS would write it. */
const reserved = [
  '$JS/API/STREAM/DELETE/SMQ_LOG',
  '$JS/API/INFO',
  '$JS/ACK/SMQ_LOG/x/1/1/1/1/0',
  '$KV/SMQ_SESSIONS/x',
  '$SYS/REQ/SERVER/PING',
  '$SYS/x',
  '$SMQ/log/a',
  '$SMQ/live/a',
  '$SMQ/client/x',
  '$SMQ/catchup',
  '$SMQ/retained/a',
  '$MQTT/x',
  '$O/x',
  '$',
  '_INBOX/x',
  `${INBOX}/x`,
];

/** Ways to say it that may pass a check and still mean the same to somebody behind it. */
const disguises: ReadonlyArray<(topic: string) => string> = [
  (topic) => topic,
  (topic) => topic.replaceAll('/', '.'),
  (topic) => `/${topic}`,
  (topic) => `${topic}/`,
  (topic) => topic.replaceAll('/', '//'),
  (topic) => ` ${topic}`,
  (topic) => `\t${topic.replaceAll('/', '.')}`,
  (topic) => `a\r\nPUB ${topic.replaceAll('/', '.')} 6\r\nattack`,
  (topic) => `a ${topic.replaceAll('/', '.')}`,
  (topic) => topic.replace('$', '%24').replace('_', '%5F'),
  (topic) => topic.replace('$', '＄'),
  (topic) => `\ufeff${topic}`,
  (topic) => `\u0001${topic}`,
  (topic) => `\u007f${topic}`,
  (topic) => `../${topic}`,
  (topic) => `*/${topic}`,
  (topic) => `>/${topic}`,
  (topic) => `>.${topic.replaceAll('/', '.')}`,
  (topic) => topic.toLowerCase(),
  (topic) => `é/${topic}`,
];
const pieces = [
  '$JS',
  '$KV',
  '$SYS',
  '$SMQ',
  '_INBOX',
  INBOX,
  'API',
  'log',
  '/',
  '/',
  '.',
  ' ',
  '\r\n',
  '*',
  '>',
  '\u0001',
  '\u007f',
  '%',
  '/24',
  '//',
  'é',
  '＄',
  'PUB',
  '-ERR',
];

function topics(): string[] {
  const made = reserved.flatMap((topic) => disguises.map((disguise) => disguise(topic)));
  const random = new Random(SEED);
  for (let i = 0; i < GENERATED; i++)
    made.push(Array.from({ length: 1 + random.below(8) }, () => random.pick(pieces)).join(''));
  return [...new Set(made)];
}

/** The rule of the documentation, written once more. */
function isHidden(topic: string): boolean {
  const [first = ''] = topic.split('/');
  return first.startsWith('$') || first === '_INBOX' || first === INBOX;
}

/** The table of the documentation, written once more. */
function subjectOf(topic: string): string {
  const token = (level: string): string =>
    level === ''
      ? '/'
      : level.replace(/[.*>\u0001-\u0020\u007f]/g, (character) =>
          character === '.' ? '//' : `/${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
        );
  return topic.split('/').map(token).join('.');
}

interface Heard {
  readonly subject: string;
  readonly reply: string;
  readonly payload: string;
  readonly headers: readonly string[];
}

interface Place {
  readonly nats: NatsServerProcess;
  readonly node: TestNode;
  readonly application: NatsConnection;
  /** With its dot. */
  readonly prefix: string;
  readonly heard: Heard[];
}

async function open(topicPrefix: string): Promise<Place> {
  const nats = await startNatsServer();
  // Not the library's own reader: it loses a U+FEFF at the start of a subject, which makes a harmless one look like another.
  const application = await connectWired({ servers: nats.url });
  const heard: Heard[] = [];
  application.subscribe('>', {
    callback: (_, { data, headers, reply = '', subject }) =>
      heard.push({ subject, reply, payload: Buffer.from(data).toString('latin1'), headers: headers?.keys() ?? [] }),
  });
  await application.flush();
  const node = await startNode({
    SUPERMQ_NATS_SERVERS: nats.url,
    SUPERMQ_NATS_TOPIC_PREFIX: topicPrefix,
    SUPERMQ_NATS_INBOX_PREFIX: INBOX,
  });
  return { nats, node, application, prefix: topicPrefix === '' ? '' : `${topicPrefix}.`, heard };
}

async function close({ application, nats, node }: Place): Promise<void> {
  await node.stop();
  await application.close();
  await nats.stop();
}

const STREAMS = '(SMQ_LOG|SMQ_RETAINED|KV_SMQ_SESSIONS|KV_SMQ_NODES|KV_SMQ_WILLS)';
/** What a node says for itself, whoever its clients are. */
const own = [
  /^\$SMQ\.(client\.[\w-]+|catchup)$/,
  /^\$KV\.SMQ_(SESSIONS|NODES)\.[\w-]+$/,
  /^\$KV\.SMQ_WILLS\.[\w-]+\.[\w-]+(\.[\w-]+)?$/,
  new RegExp(`^\\$JS\\.API\\.(STREAM\\.(INFO|CREATE|MSG\\.GET)|DIRECT\\.GET)\\.${STREAMS}$`),
  /^\$JS\.API\.CONSUMER\.(CREATE|INFO|MSG\.NEXT)\.(SMQ_LOG|SMQ_RETAINED)\.[\w-]+$/,
  /^\$JS\.ACK\.SMQ_LOG\.group-[\w-]+\.[\d.\w]+$/,
  /^\$JS\.EVENT\./,
  new RegExp(`^${INBOX}\\.\\w+(\\.\\d+)?$`),
];

/** Fails on a subject that no node says for itself and no topic of the client maps to. */
function checkHeard({ heard, prefix }: Place, topicsByPayload: ReadonlyMap<string, string>): void {
  const mapped = new Set<string>();
  for (const topic of topicsByPayload.values()) {
    if (isHidden(topic)) continue;
    for (const before of ['', '$SMQ.log.', '$SMQ.live.', '$SMQ.retained.'])
      mapped.add(before + prefix + subjectOf(topic));
  }
  for (const { headers, payload, reply, subject } of heard) {
    const isOwn = own.some((pattern) => pattern.test(subject));
    assert.ok(isOwn || mapped.has(subject), `NATS heard ${JSON.stringify(subject)}`);
    assert.ok(
      reply === '' || reply.startsWith(`${INBOX}.`) || reply.startsWith('$JS.ACK.SMQ_LOG.group-'),
      `reply to ${reply}`,
    );
    for (const name of headers) assert.match(name, /^(Mqtt|Nats|KV)-[\w-]+$/);
    assert.ok(!headers.includes('Nats-Rollup'), subject);
    const topic = topicsByPayload.get(payload);
    if (topic === undefined) continue;
    assert.ok(!isHidden(topic), `what was published to ${JSON.stringify(topic)} reached ${subject}`);
    assert.ok(subject.endsWith(prefix + subjectOf(topic)), `${JSON.stringify(topic)} reached ${subject}`);
  }
}

for (const topicPrefix of ['', 'mqtt']) {
  describe(`NATS behind the walls - ${topicPrefix === '' ? 'without a prefix' : `prefix ${topicPrefix}`}`, {
    timeout: 120_000,
  }, () => {
    test('no topic, alias, will, response topic or client id reaches a subject that is not the mapping of an allowed topic', async (t) => {
      const place = await open(topicPrefix);
      t.after(() => close(place));
      const published = new Map<string, string>();
      const refused = await publishAll(place, published);
      await leaveWills(place, published);
      await connectUnderEveryName(place);
      const fence = 'the end';
      place.application.publish('fence', fence);
      published.set(fence, 'fence');
      await eventually(() => place.heard.some(({ payload }) => payload === fence), 'what was said before');
      place.heard.splice(
        place.heard.findIndex(({ payload }) => payload === fence),
        1,
      );
      checkHeard(place, published);
      const reached = new Set(place.heard.map(({ payload }) => payload));
      const open_ = [...published].filter(([payload, topic]) => !isHidden(topic) && payload.startsWith('attack'));
      for (const [payload, topic] of open_)
        assert.ok(reached.has(payload), `${JSON.stringify(topic)} is an ordinary topic`);
      assert.ok(refused > 50 && open_.length > 300, 'both kinds are among them');
    });

    test('a client that subscribes to all it can sees nothing of what is not MQTT, and holds no subscription on it', async (t) => {
      const place = await open(topicPrefix);
      t.after(() => close(place));
      const reader = await RawClient.connect(place.node.tcp, { version: 5 });
      await subscribeToAll(reader);
      await checkSubscriptions(place);
      await plant(place);
      await checkRead(place, reader);
    });
  });
}

/** With QoS 0 and 1, with a response topic, with an alias; returns how many the server refused. */
async function publishAll({ node }: Place, published: Map<string, string>): Promise<number> {
  const client = await RawClient.connect(node.tcp, { version: 5 });
  let refused = 0;
  let serial = 0;
  const payloadFor = (topic: string): string => {
    const payload = `attack ${serial++}`;
    published.set(payload, topic);
    return payload;
  };
  for (const topic of topics()) {
    client.publish(topic, payloadFor(topic));
    const code = await client.publishAcknowledged(topic, payloadFor(topic), 1, {
      properties: { responseTopic: '$JS/API/INFO', topicAlias: 1, userProperties: { 'Nats-Rollup': 'all\r\nEvil: 1' } },
    });
    assert.equal(code === 0x87, isHidden(topic), `${JSON.stringify(topic)} was answered with ${code}`);
    if (code === 0x87) refused++;
    assert.equal(await client.publishAcknowledged('', payloadFor(topic), 1, { properties: { topicAlias: 1 } }), code);
  }
  for (const topic of reserved)
    assert.equal(await client.publishAcknowledged(topic, payloadFor(topic), 2, { retain: true }), 0x87);
  assert.ok(!client.isClosed);
  await client.end();
  return refused;
}

async function leaveWills({ node }: Place, published: Map<string, string>): Promise<void> {
  const wanted = topics().slice(0, reserved.length * disguises.length);
  await Promise.all(
    wanted.map(async (topic, index) => {
      const payload = `will ${index}`;
      published.set(payload, topic);
      const will = { topic, payload: Buffer.from(payload), qos: 1 as const, retain: true };
      const client = await RawClient.connect(node.tcp, { version: 5, will });
      assert.equal(
        client.connack.reasonCode === 0x87,
        isHidden(topic),
        `a will on ${JSON.stringify(topic)}: ${client.connack.reasonCode}`,
      );
      await client.abort();
    }),
  );
  await eventually(
    () => node.counters.willsPublished >= wanted.filter((topic) => !isHidden(topic)).length,
    'all wills',
  );
}

async function connectUnderEveryName({ node }: Place): Promise<void> {
  await Promise.all(
    topics()
      .slice(0, 200)
      .map(async (clientId) => {
        const client = await RawClient.connect(node.tcp, {
          version: 5,
          clientId,
          properties: { sessionExpiryInterval: 60 },
        });
        assert.equal(client.connack.reasonCode, 0);
        await client.subscribe({ topic: 'q', qos: 1 });
        await client.end(60);
      }),
  );
}

async function subscribeToAll(reader: RawClient): Promise<void> {
  const inner = reserved.flatMap((topic) => [
    topic,
    `${topic}/#`,
    topic.replace(/\/.*/, '/#'),
    topic.replace(/\/.*/, '/+/+'),
  ]);
  const disguised = topics().slice(0, 300);
  const grouped = inner.flatMap((filter) => [`$share/x/${filter}`, `$g/x/${filter}`]);
  for (const filter of [...inner, ...disguised, ...grouped]) {
    const bare = filter.replace(/^\$(share|g)\/x\//, '');
    const isRefused = isHidden(bare) && bare.split('/')[0] !== '$SYS';
    const [code = 0] = await reader.subscribe({ topic: filter, qos: 1 });
    assert.equal(code >= 0x80, isRefused, `${JSON.stringify(filter)} was answered with ${code}`);
  }
  const wild = ['#', '+', '+/#', '+/+', '+/+/+', '+/API/#', '+/+/+/+/+', '/#', '+/SMQ_SESSIONS/+', '+/client/#'];
  for (const filter of [...wild, ...wild.flatMap((each) => [`$share/all/${each}`, `$g/every/${each}`])])
    assert.deepEqual(await reader.subscribe({ topic: filter, qos: 1 }), [1], filter);
}

/** What the node asks NATS for, from the server's own list. */
async function checkSubscriptions({ nats, prefix }: Place): Promise<void> {
  const answer = await (await fetch(`${nats.monitorUrl}/connz?subs=1&limit=1000`)).json();
  const { connections } = answer as { connections: { name?: string; subscriptions_list?: string[] }[] }; // as nats-server documents it
  const subjects = connections
    .filter(({ name }) => name !== undefined)
    .flatMap(({ subscriptions_list: list = [] }) => list);
  assert.ok(subjects.length > 100);
  for (const subject of subjects) {
    if (/^\$SMQ\.(client\.[\w-]+|catchup)$/.test(subject) || subject.startsWith(`${INBOX}.`)) continue;
    if (/^\$JS\.EVENT\.ADVISORY\.(STREAM|CONSUMER)\.LEADER_ELECTED\.SMQ_LOG(\.\*)?$/.test(subject)) continue;
    const bare = subject.replace(/^\$SMQ\.live\./, '');
    assert.ok(bare.startsWith(prefix), subject);
    const first = bare.slice(prefix.length).split('.')[0] ?? '';
    assert.ok(first === '$SYS' || !(first.startsWith('$') || first === '_INBOX' || first === INBOX), subject);
  }
}

async function plant({ application, prefix }: Place): Promise<void> {
  const subjects = reserved
    .map((topic) => topic.replaceAll('/', '.'))
    // Not what is the documented way of an application to devices, or would end the test.
    .filter((subject) => !/^\$(SMQ\.(log|retained)|JS\.API\.STREAM\.DELETE)\./.test(subject));
  for (const before of new Set(['', prefix]))
    for (const subject of subjects) application.publish(before + subject, `planted ${before}${subject}`);
  const bucket = await application.jetstream().views.kv('secrets');
  await bucket.put('key', 'planted in a bucket');
  await bucket.get('key');
  await application.jetstream().publish(`$SMQ.log.${prefix}$JS.x`, 'planted in the log');
  application.publish(`${prefix}ordinary`, 'for all');
  await application.flush();
}

async function checkRead({ prefix }: Place, reader: RawClient): Promise<void> {
  const seen: string[] = [];
  for (let last = ''; last !== 'for all'; ) {
    const { payload } = await reader.next('publish');
    last = payload.toString();
    seen.push(last);
  }
  await reader.ping();
  for (const { payload } of reader.taken('publish')) seen.push(payload.toString());
  const strange = seen.filter((payload) => payload.startsWith('planted'));
  // `$SYS` may be read by who asks for it by name.
  assert.ok(strange.includes(`planted ${prefix}$SYS.x`));
  for (const payload of strange) assert.ok(payload.startsWith(`planted ${prefix}$SYS.`), payload);
  assert.ok(seen.includes('for all'));
}
