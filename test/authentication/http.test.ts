/** The HTTP hook, against a real HTTP server: its answers, what becomes of clients when it has none, and what is asked how often. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { codeFor, keptLog, loggedIn, replaceFile, scratchFolder } from '../support/authentication.ts';
import { eventually } from '../support/eventually.ts';
import { startNode, type TestNode } from '../support/node.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';

const folder = scratchFolder();

/** A service whose answers a test sets, and what it was asked. */
class Service {
  readonly asked: Array<Record<string, unknown>> = [];
  readonly authorizations: Array<string | undefined> = [];
  /** Questions under way now, and at most. */
  open = 0;
  mostOpen = 0;
  answer: (response: ServerResponse) => void = () => {};
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#take(request, response));
  }

  static async start(): Promise<Service> {
    const service = new Service();
    service.#server.listen(0, '127.0.0.1');
    await once(service.#server, 'listening');
    return service;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/auth`;
  }

  /** Says this to every question. */
  says(body: object | string, status = 200): void {
    this.answer = (response) => {
      response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
    };
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    response.once('close', () => this.open--);
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    this.asked.push(JSON.parse(text));
    this.authorizations.push(request.headers.authorization);
    this.answer(response);
  }
}

interface Setup {
  readonly service: Service;
  readonly node: TestNode;
  readonly clock: ShiftedClock;
  readonly log: ReturnType<typeof keptLog>;
}

async function setUp(t: TestContext, env: Record<string, string> = {}): Promise<Setup> {
  const service = await Service.start();
  const [clock, log] = [new ShiftedClock(), keptLog()];
  const node = await startNode({ SUPERMQ_AUTH_HTTP_URL: service.url, ...env }, clock, log.log);
  t.after(async () => {
    await node.stop();
    service.stop();
  });
  return { service, node, clock, log };
}

const ann = { username: 'ann', password: 'pencil', clientId: 'c1' };

test('http hook - it is told who asks, and allows, denies or leaves to others', async (t) => {
  const { log, node, service } = await setUp(t);
  service.says({ result: 'allow', groups: ['staff'], rules: [{ allow: 'all', filter: '#' }] });
  assert.equal(await codeFor(node.tcp, ann), 0);
  const expected = { clientId: 'c1', username: 'ann', password: 'pencil', version: 5, listener: 'tcp' };
  assert.deepEqual(service.asked, [{ ...expected, address: '127.0.0.1' }]);
  service.says({ result: 'deny' });
  assert.equal(await codeFor(node.tcp, { ...ann, clientId: 'c2' }), 0x87);
  assert.equal(await codeFor(node.tcp, { ...ann, clientId: 'c3' }, 4), 5);
  service.says({ result: 'ignore' });
  assert.equal(await codeFor(node.tcp, { ...ann, clientId: 'c4' }), 0x86);
  assert.equal(await codeFor(node.tcp, { clientId: 'c5' }), 0x87);
  await codeFor(node.tcp, { ...ann, password: Buffer.from([0xff, 0]) });
  const last: Record<string, unknown> = service.asked.at(-1) ?? {};
  assert.equal(last['passwordBase64'], '/wA=');
  assert.equal('password' in last, false);
  assert.deepEqual(node.counters.authentications.http, { accepted: 1, refused: 2, unavailable: 0 });
  assert.doesNotMatch(log.text(), /pencil/);
});

test('http hook - whatever is no answer is neither a denial nor a permission, with anonymous behind it too', async (t) => {
  const { node, service } = await setUp(t, {
    SUPERMQ_AUTH_CHAIN: 'http,anonymous',
    SUPERMQ_AUTH_HTTP_FAILURES: '1000',
    SUPERMQ_AUTH_HTTP_TIMEOUT_MS: '200',
  });
  const answers: ReadonlyArray<readonly [body: object | string, status?: number]> = [
    [{ result: 'allow' }, 500],
    [{ result: 'allow' }, 201],
    [{ result: 'deny' }, 403],
    ['', 204],
    ['no JSON'],
    ['null'],
    ['[]'],
    [{}],
    [{ result: true }],
    [{ result: 'allow', username: 5 }],
    [{ result: 'allow', groups: 'staff' }],
    [{ result: 'allow', rules: [{ allow: 'everything', filter: '#' }] }],
    [{ result: 'allow', expiresInSeconds: -1 }],
    [{ result: 'allow', expiresInSeconds: '60' }],
    [{ result: 'allow', username: 'a'.repeat(300_000) }],
  ];
  for (const [body, status] of answers) {
    service.says(body, status);
    assert.equal(await codeFor(node.tcp, {}), 0x88, `${status} ${JSON.stringify(body).slice(0, 80)}`);
  }
  service.answer = (response) => response.destroy();
  assert.equal(await codeFor(node.tcp, {}, 4), 3);
  service.answer = (response) => response.writeHead(302, { location: service.url }).end();
  assert.equal(await codeFor(node.tcp, {}), 0x88);
  service.answer = () => {}; // never
  assert.equal(await codeFor(node.tcp, {}), 0x88);
  service.says({ result: 'ignore' });
  assert.equal(await codeFor(node.tcp, {}), 0, 'anonymous is asked when the service leaves it to others');
  assert.equal(node.counters.authentications.http.unavailable, answers.length + 3);
});

test('http hook - what it said is remembered for a while, for the very same question only', async (t) => {
  const { clock, node, service } = await setUp(t);
  service.says({ result: 'allow' });
  for (let i = 0; i < 3; i++) assert.equal(await codeFor(node.tcp, ann), 0);
  assert.equal(service.asked.length, 1);
  service.says({ result: 'deny' });
  const others = [
    { ...ann, password: 'ink' },
    { ...ann, clientId: 'c2' },
    { ...ann, username: 'ben' },
  ];
  for (const login of [...others, ...others]) assert.equal(await codeFor(node.tcp, login), 0x87);
  assert.equal(service.asked.length, 4);
  clock.pass(6);
  assert.equal(await codeFor(node.tcp, ann), 0);
  assert.equal(await codeFor(node.tcp, { ...ann, clientId: 'c2' }), 0x87);
  assert.equal(service.asked.length, 5, 'a denial is forgotten sooner');
  clock.pass(60);
  assert.equal(await codeFor(node.tcp, ann), 0x87);
});

test('http hook - many wrong credentials push nobody out of what is remembered who is allowed', async (t) => {
  const { node, service } = await setUp(t, { SUPERMQ_AUTH_HTTP_CACHE_ENTRIES: '2' });
  service.says({ result: 'allow' });
  assert.equal(await codeFor(node.tcp, ann), 0);
  service.says({ result: 'deny' });
  for (let i = 0; i < 5; i++) assert.equal(await codeFor(node.tcp, { ...ann, password: `${i}` }), 0x87);
  assert.equal(await codeFor(node.tcp, ann), 0);
  assert.equal(service.asked.length, 6);
  assert.equal(await codeFor(node.tcp, { ...ann, password: '4' }), 0x87);
  assert.equal(service.asked.length, 6);
  assert.equal(await codeFor(node.tcp, { ...ann, password: '0' }), 0x87);
  assert.equal(service.asked.length, 7, 'the oldest has made room');
});

test('http hook - the connection ends when its answer says, and what is remembered ends with it', async (t) => {
  const { clock, node, service } = await setUp(t);
  service.says({ result: 'allow', username: 'Ann', expiresInSeconds: 30 });
  const client = await loggedIn(node.tcp, ann);
  clock.pass(31);
  assert.equal(await client.closingReason(), 0x87);
  service.says({ result: 'deny' });
  assert.equal(await codeFor(node.tcp, ann), 0x87);
});

test('http hook - after some failures it is left alone, then one question tries it', async (t) => {
  const { clock, log, node, service } = await setUp(t, { SUPERMQ_AUTH_HTTP_FAILURES: '3' });
  service.says({}, 503);
  for (let i = 0; i < 6; i++) assert.equal(await codeFor(node.tcp, { ...ann, clientId: `c${i}` }), 0x88);
  assert.equal(service.asked.length, 3);
  assert.equal(log.lines('auth.httpUnavailable').length, 1);
  clock.pass(6);
  for (let i = 0; i < 3; i++) assert.equal(await codeFor(node.tcp, { ...ann, clientId: `d${i}` }), 0x88);
  assert.equal(service.asked.length, 4, 'one try');
  service.says({ result: 'allow' });
  assert.equal(await codeFor(node.tcp, ann), 0x88, 'not yet');
  clock.pass(6);
  for (let i = 0; i < 3; i++) assert.equal(await codeFor(node.tcp, { ...ann, clientId: `e${i}` }), 0);
  assert.equal(log.lines('auth.httpAvailable').length, 1);
});

test('http hook - few questions at once, some wait, the rest hear that the server is busy', async (t) => {
  const { node, service } = await setUp(t, {
    SUPERMQ_AUTH_HTTP_CONCURRENCY: '2',
    SUPERMQ_AUTH_HTTP_QUEUE: '3',
  });
  const held: ServerResponse[] = [];
  service.answer = (response) => void held.push(response);
  const clients = Array.from({ length: 9 }, (_, i) => codeFor(node.tcp, { ...ann, clientId: `c${i}` }));
  await eventually(() => node.counters.authentications.http.unavailable === 4);
  await eventually(() => held.length === 2);
  service.says({ result: 'allow' });
  for (const response of held) response.end('{"result":"allow"}');
  const codes = await Promise.all(clients);
  assert.equal(codes.filter((code) => code === 0).length, 5);
  assert.equal(codes.filter((code) => code === 0x89).length, 4);
  assert.equal(service.mostOpen, 2);
});

test('http hook - nobody waits for longer than a CONNECT may take, and whose turn comes then is not asked about', async (t) => {
  const { clock, node, service } = await setUp(t, {
    SUPERMQ_AUTH_HTTP_CONCURRENCY: '1',
    SUPERMQ_AUTH_HTTP_TIMEOUT_MS: '60000',
  });
  const held: ServerResponse[] = [];
  service.answer = (response) => void held.push(response);
  const first = codeFor(node.tcp, ann);
  await eventually(() => held.length === 1);
  const { bytesReceived } = node.counters;
  const clients = [first, ...[2, 3].map((i) => codeFor(node.tcp, { ...ann, clientId: `c${i}` }))];
  await eventually(() => node.counters.bytesReceived === 3 * bytesReceived);
  clock.pass(11);
  assert.deepEqual(await Promise.all(clients), [0x88, 0x88, 0x88]);
  held[0]?.end('{"result":"allow"}');
  service.says({ result: 'allow' });
  assert.equal(await codeFor(node.tcp, { ...ann, clientId: 'c4' }), 0);
  assert.equal(service.asked.length, 2);
});

test('http hook - it gets the secret of the file, also when that changes; the log does not', async (t) => {
  const path = join(folder, 'secret');
  writeFileSync(path, 'first-secret\n');
  const { log, node, service } = await setUp(t, { SUPERMQ_AUTH_HTTP_SECRET_FILE: path });
  service.says({ result: 'allow' });
  await codeFor(node.tcp, ann);
  replaceFile(path, 'second-secret');
  await eventually(() => log.lines('auth.httpSecretChanged').length === 1);
  await codeFor(node.tcp, { ...ann, clientId: 'c2' });
  assert.deepEqual(service.authorizations, ['Bearer first-secret', 'Bearer second-secret']);
  assert.doesNotMatch(log.text(), /-secret/);
});

test('http hook - a client that goes away while it is asked about is not connected by a late answer', async (t) => {
  const { node, service } = await setUp(t);
  const held: ServerResponse[] = [];
  service.answer = (response) => void held.push(response);
  const client = await RawClient.open(node.tcp, 4);
  client.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: 'c', clean: true, keepalive: 0 });
  await eventually(() => held.length === 1);
  await client.abort();
  held[0]?.end('{"result":"allow"}');
  await eventually(() => node.counters.authentications.http.accepted === 1);
  assert.equal(node.counters.connectsAccepted, 0);
  assert.equal(node.counters.internalErrors, 0);
});

test('[MQTT5 3.1.4-3] of two connections of a client the later one stays, though the service takes longer for the other', async (t) => {
  const { node, service } = await setUp(t, {
    SUPERMQ_AUTH_HTTP_TIMEOUT_MS: '60000',
    SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '60',
  });
  const allow = (response: ServerResponse): unknown => response.end(JSON.stringify({ result: 'allow' }));
  let first: ServerResponse | undefined;
  service.answer = (response) => {
    if (first === undefined) first = response;
    else allow(response);
  };
  const fields = { version: 5, clientId: 'twice', username: 'ann', password: Buffer.from('x') } as const;
  const slow = await RawClient.open(node.tcp, 5);
  slow.send(connectPacket(fields));
  await eventually(() => first !== undefined, 'the first question');
  const stays = await RawClient.connect(node.tcp, { ...fields, password: Buffer.from('another question') });
  assert.equal(stays.connack.reasonCode, 0);
  await stays.subscribe('twice');
  if (first !== undefined) allow(first);
  await slow.closed;
  assert.deepEqual(slow.received, [], 'no CONNACK');
  stays.publish('twice', 'still here');
  assert.equal((await stays.messages(1))[0]?.payload, 'still here');
  await stays.end();
});
