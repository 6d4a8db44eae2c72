/** Several workers behind one port, as real processes: what clients, load balancers and Prometheus see, and what becomes of each that dies. */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import mqttPacket from 'mqtt-packet';
import { WebSocket } from 'ws';
import { startEdge } from '../support/edge-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { freeze } from '../support/freeze.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { freePort } from '../support/ports.ts';
import { connectPacket, RawClient } from '../support/raw-client.ts';
import { publishNumbers, range, SessionClient } from '../support/session-client.ts';

const entry = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

let nats: NatsServerProcess;
let edge: EdgeProcess;

before(async () => {
  nats = await startNatsServer();
  edge = await startWorkers();
});
after(async () => {
  await edge.stop();
  await nats.stop();
});

function startWorkers(env: Record<string, string> = {}, servers = nats.url): Promise<EdgeProcess> {
  return startEdge(servers, { SUPERMQ_WORKERS: '2', ...env });
}

/** Clients on each of two workers. */
function spread(of = edge): Promise<number[]> {
  return Promise.all([0, 1].map((worker) => of.metric(`supermq_worker_clients_connected{worker="${worker}"}`)));
}

async function until(expected: readonly number[], of = edge): Promise<void> {
  let last: number[] = [];
  const holds = async (): Promise<boolean> => {
    last = await spread(of);
    return String(last) === String(expected);
  };
  await eventually(holds).catch(() => assert.deepEqual(last, expected, 'clients on the workers'));
}

interface WorkerLine {
  readonly event: string;
  readonly worker: number;
  readonly pid: number;
}

/** The process of a worker, as the log says; the newest one. */
function pidOf(worker: number, of = edge): number {
  const lines = linesOf(of, 'worker.started').filter((line) => line.worker === worker);
  return lines.at(-1)?.pid ?? 0;
}

function linesOf(of: EdgeProcess, event: string): WorkerLine[] {
  const lines = of.output.split('\n').filter((line) => line.includes(`"event":"${event}"`) && line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as WorkerLine);
}

function isAlive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false; // no such process
  }
}

async function readiness(of: EdgeProcess): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${of.http}/readyz`);
  return { status: response.status, text: (await response.text()).trim() };
}

/** Runs a server that is expected to end by itself. */
function run(env: Record<string, string>): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const complete = {
      PATH: process.env['PATH'],
      SUPERMQ_MQTT_TCP_HOST: '127.0.0.1',
      SUPERMQ_HTTP_HOST: '127.0.0.1',
      ...env,
    };
    execFile(process.execPath, [entry], { env: complete, timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        output: stdout + stderr,
      });
    });
  });
}

test('workers - two of them share the port, and messages pass between them', async () => {
  const subscriber = await RawClient.connect(edge.tcp);
  const publisher = await RawClient.connect(edge.tcp);
  await until([1, 1]);
  await subscriber.subscribe('workers/#');
  publisher.publish('workers/a', 'across');
  assert.deepEqual(await subscriber.messages(1), [{ topic: 'workers/a', payload: 'across' }]);
  const more = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(edge.tcp)));
  const [first = 0, second = 0] = await spread();
  assert.equal(first + second, 22);
  // On a busy machine the one that is slower to take a connection gets fewer.
  assert.ok(Math.min(first, second) >= 4, `${first} and ${second}`);
  await Promise.all([subscriber, publisher, ...more].map((client) => client.end()));
  await until([0, 0]);
});

test('[MQTT5 3.1.4-3] [MQTT311 3.1.4-2] workers - a client that comes to the other worker is closed on the first', async () => {
  const first = await RawClient.connect(edge.tcp, { version: 5, clientId: 'mover' });
  const [before = 0] = await spread();
  const second = await RawClient.connect(edge.tcp, { version: 5, clientId: 'mover' });
  assert.equal(await first.closingReason(), 0x8e);
  await second.ping();
  await until([1 - before, before]);
  await second.end();
});

test('workers - their one endpoint shows the sums, and workers have no endpoint of their own', async () => {
  const before = await edge.metric('supermq_messages_received_total');
  const clients = await Promise.all([1, 2].map(() => RawClient.connect(edge.tcp)));
  await until([1, 1]);
  for (const client of clients) {
    for (let count = 0; count < 10; count++) client.publish('sum', 'x');
    await client.ping();
  }
  assert.equal(await edge.metric('supermq_messages_received_total'), before + 20);
  assert.equal(await edge.metric('supermq_clients_connected'), 2);
  assert.equal(await edge.metric('supermq_workers'), 2);
  assert.equal(await edge.metric('supermq_worker_restarts_total'), 0);
  await assert.rejects(RawClient.open(edge.http + 1), { code: 'ECONNREFUSED' });
  await Promise.all(clients.map((client) => client.end()));
});

test('workers - each has the limit of an address for itself: nobody is refused below it, all together allow what the start has said', async () => {
  const limited = await startWorkers({ SUPERMQ_LIMITS_MAX_CONNECTIONS_PER_ADDRESS: '4' });
  const [line] = linesOf(limited, 'workers.limited') as unknown as Array<{ together: Record<string, number> }>; // as the supervisor writes it
  assert.equal(line?.together['limits.maxConnectionsPerAddress'], 8);
  const clients: RawClient[] = [];
  let refused = 0;
  // Which worker one comes to is chance: some are refused before both have theirs.
  while (clients.length < 8 && refused < 100) {
    const client = await RawClient.connect(limited.tcp).catch(() => undefined);
    if (client !== undefined) clients.push(client);
    else {
      refused++;
      assert.ok(clients.length >= 4, `refused after ${clients.length}`);
    }
  }
  await until([4, 4], limited);
  for (let attempt = 0; attempt < 4; attempt++) await assert.rejects(RawClient.connect(limited.tcp));
  const reached = await limited.metric('supermq_limit_reached_total{limit="maxConnectionsPerAddress"}');
  assert.equal(reached, refused + 4);
  await Promise.all(clients.map((client) => client.end()));
  await limited.stop();
});

test('workers - each is a node of its own name, with its number in the log', async () => {
  const lines = edge.output.split('\n').filter((line) => line.includes('"node.ready"'));
  const nodes = lines.map((line) => JSON.parse(line) as { node: string; worker: number });
  assert.deepEqual(nodes.map(({ worker }) => worker).sort(), [0, 1]);
  const [first, second] = nodes.map(({ node, worker }) => [node.slice(0, -2), node.slice(-2), worker] as const);
  assert.equal(first?.[0], second?.[0], 'one name but for the suffix');
  for (const entry of [first, second]) assert.equal(entry?.[1], `-${entry?.[2]}`);
});

const withoutOpenssl = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';

test('workers - WebSocket, TLS and WebSocket with TLS are shared too', { skip: withoutOpenssl }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'supermq-workers-'));
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', [...request, '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const [tls, wss] = [await freePort(), await freePort()];
  const own = await startWorkers({
    SUPERMQ_MQTT_TLS_PORT: String(tls),
    SUPERMQ_MQTT_WSS_PORT: String(wss),
    SUPERMQ_TLS_CERT: cert,
    SUPERMQ_TLS_KEY: key,
  });
  t.after(async () => {
    await own.stop();
    rmSync(folder, { recursive: true });
  });
  const options = { rejectUnauthorized: false };
  const connects = connectPacket({ version: 4 });
  const overWebSocket = (url: string) => async (): Promise<void> => {
    const socket = new WebSocket(`${url}/mqtt`, ['mqtt'], options);
    await once(socket, 'open');
    socket.send(mqttPacket.generate({ ...connects, clientId: crypto.randomUUID() }));
    const [answer] = (await once(socket, 'message')) as [Buffer];
    assert.equal(answer[0], 0x20);
  };
  const overTls = async (): Promise<void> => {
    const socket = connectTls({ port: tls, host: '127.0.0.1', ...options });
    await once(socket, 'secureConnect');
    socket.write(mqttPacket.generate({ ...connects, clientId: crypto.randomUUID() }));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.equal(answer[0], 0x20);
  };
  let expected = 0;
  for (const open of [overWebSocket(`ws://127.0.0.1:${own.ws}`), overTls, overWebSocket(`wss://127.0.0.1:${wss}`)]) {
    await open();
    await open();
    expected++;
    await until([expected, expected], own);
  }
});

test('workers - one is killed: the others serve on, its clients resume with nothing lost, and another takes its place', async (t) => {
  const own = await startWorkers();
  t.after(() => own.stop());
  const subscriber = await SessionClient.connect(own.tcp, 'survivor');
  await subscriber.subscribe('killed', 1);
  const [here = 0] = await spread(own);
  const doomed = here === 1 ? 0 : 1;
  const publisher = await SessionClient.connect(own.tcp, 'publisher');
  await until([1, 1], own);
  await publishNumbers(publisher, { to: 100, topic: 'killed' });
  const stored = await own.metric('supermq_log_stored_total');
  const sent = await own.metric('supermq_messages_delivered_total');
  assert.equal(stored, 100);
  const killed = pidOf(doomed, own);

  const rest = publishNumbers(publisher, { from: 100, to: 3_000, topic: 'killed' });
  process.kill(killed, 'SIGKILL');
  await subscriber.closed;
  // The primary may not know yet that the worker is dead: who was handed to it is closed and connects again.
  const resume = (): Promise<boolean> =>
    subscriber.connect(own.tcp).then(
      () => true,
      () => false,
    );
  await eventually(resume, 'the subscriber is back');
  assert.ok(subscriber.sessionPresent);
  const { status, text } = await readiness(own);
  assert.equal(status, 200);
  assert.match(text, new RegExp(`^ready, without worker ${doomed}: `));
  assert.equal(await own.status('healthz'), 200);
  assert.ok((await own.metric('supermq_messages_delivered_total')) >= sent, 'no counter falls');
  await rest;
  await subscriber.waitFor(3_000);
  assert.deepEqual(subscriber.numbers(), range(3_000));

  await eventually(async () => (await readiness(own)).text === 'ready', 'ready again');
  assert.equal(await own.metric('supermq_worker_restarts_total'), 1);
  assert.equal(await own.metric('supermq_workers'), 2);
  assert.notEqual(pidOf(doomed, own), killed);
  assert.equal(
    await own.metric('supermq_connects_accepted_total'),
    3,
    'what the dead one had counted is not forgotten',
  );
  const more = await Promise.all([1, 2, 3, 4].map(() => RawClient.connect(own.tcp)));
  await eventually(async () => Math.min(...(await spread(own))) > 0, 'clients on the new one');
  await Promise.all([...more.map((client) => client.end()), publisher.forget(), subscriber.forget()]);
});

test('workers - a client that was handed to one that dies before it takes the connection is closed, and does not wait', async (t) => {
  const own = await startWorkers();
  t.after(() => own.stop());
  const frozen = pidOf(0, own);
  process.kill(frozen, 'SIGSTOP');
  const clients = await Promise.all([1, 2, 3, 4].map(() => RawClient.open(own.tcp, 4)));
  const answers = clients.map(async (client) => {
    client.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: '', clean: true, keepalive: 0 });
    await client.next('connack');
  });
  const settled = Promise.allSettled(answers);
  await eventually(async () => (await own.metric('supermq_connects_accepted_total')) === 3, 'all but one are taken');
  process.kill(frozen, 'SIGKILL');
  await eventually(() => clients.some(({ isClosed }) => isClosed), 'the client of the dead one is closed');
  await settled;
  assert.equal(clients.filter(({ isClosed }) => isClosed).length, 1);
  await Promise.all(clients.filter(({ isClosed }) => !isClosed).map((client) => client.end()));
});

test('workers - one that hangs makes them not ready and is left out of the sum, and nobody waits for it longer than a second', async () => {
  const clients = await Promise.all([1, 2].map(() => RawClient.connect(edge.tcp)));
  await until([1, 1]);
  const received = await edge.metric('supermq_bytes_received_total');
  freeze(pidOf(1));
  const started = performance.now();
  assert.deepEqual(await readiness(edge), { status: 503, text: 'worker 1: no answer' });
  assert.equal(await edge.metric('supermq_clients_connected'), 1);
  const waited = performance.now() - started;
  assert.ok(waited > 1_000 && waited < 5_000, `${waited} ms`);
  assert.ok((await edge.metric('supermq_bytes_received_total')) >= received, 'no counter falls');
  assert.ok((await edge.metric('supermq_worker_silences_total')) >= 3);
  assert.equal(await edge.status('healthz'), 200);
  process.kill(pidOf(1), 'SIGCONT');
  await edge.waitForStatus('readyz', 200);
  await Promise.all(clients.map((client) => client.end()));
});

test('workers - one that hangs for good is killed and replaced', { timeout: 90_000 }, async (t) => {
  const own = await startWorkers();
  t.after(() => own.stop());
  const hung = pidOf(0, own);
  freeze(hung);
  const deadline = performance.now() + 60_000;
  while (isAlive(hung)) {
    assert.ok(performance.now() < deadline, 'it is still there');
    await eventually(() => !isAlive(hung)).catch(() => {});
  }
  await eventually(async () => (await readiness(own)).text === 'ready', 'ready again');
  assert.notEqual(pidOf(0, own), hung);
  assert.equal(linesOf(own, 'worker.hung').length, 1);
});

test('workers - without NATS they are healthy and not ready, and the body says which are not and why', async (t) => {
  const lone = await startNatsServer();
  await lone.kill();
  const env = { SUPERMQ_WORKERS: '2', SUPERMQ_NATS_SERVERS: lone.url };
  const own = await EdgeProcess.start(env, 'healthz');
  t.after(async () => {
    await own.stop();
    await lone.stop();
  });
  const waiting = 'worker 0: waiting for NATS; worker 1: waiting for NATS';
  await eventually(async () => (await readiness(own)).text === waiting, waiting);
  assert.equal((await readiness(own)).status, 503);
  await assert.rejects(RawClient.open(own.tcp), { code: 'ECONNREFUSED' });
  await lone.restart();
  await own.waitForStatus('readyz', 200);
  await lone.kill();
  await own.waitForStatus('readyz', 503);
  const lost = 'worker 0: not connected to NATS; worker 1: not connected to NATS';
  await eventually(async () => (await readiness(own)).text === lost, lost);
  assert.equal(await own.metric('supermq_bus_connected'), 0);
  assert.equal(await own.status('healthz'), 200);
});

test('workers - a wrong configuration ends all with 2 and its sentence, before any worker is started', async () => {
  const { code, output } = await run({ SUPERMQ_WORKERS: '2' });
  assert.equal(code, 2);
  assert.equal(output, 'workers is 2, but workers meet through NATS only: set nats.servers, or workers to 1.\n');
});

for (const [name, variable] of [
  ['the MQTT port', 'SUPERMQ_MQTT_TCP_PORT'],
  ['the HTTP port', 'SUPERMQ_HTTP_PORT'],
] as const) {
  test(`workers - ${name} is in use: all end with 1 and the sentence of a single node`, async () => {
    const blocker = createServer().listen(await freePort(), '127.0.0.1');
    await once(blocker, 'listening');
    const address = blocker.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const { code, output } = await run({
      SUPERMQ_WORKERS: '2',
      SUPERMQ_NATS_SERVERS: nats.url,
      SUPERMQ_MQTT_WS_PORT: '0',
      SUPERMQ_MQTT_TCP_PORT: String(await freePort()),
      SUPERMQ_HTTP_PORT: String(await freePort()),
      [variable]: String(port),
    });
    assert.equal(code, 1);
    assert.match(output, new RegExp(`"event":"node.failed".*EADDRINUSE.*${port}`));
    blocker.close();
  });
}

test('workers - SIGTERM: all clients are told, all workers end, exit code 0', async () => {
  const own = await startWorkers();
  const clients = await Promise.all([1, 2].map(() => RawClient.connect(own.tcp, { version: 5 })));
  await until([1, 1], own);
  const pids = [0, 1].map((worker) => pidOf(worker, own));
  assert.ok(pids.every(isAlive));
  assert.equal(await own.stop(), 0);
  assert.deepEqual(await Promise.all(clients.map((client) => client.closingReason())), [0x8b, 0x8b]);
  assert.deepEqual(pids.filter(isAlive), []);
});

test('workers - the primary is killed: the workers drain and end', async () => {
  const own = await startWorkers();
  const clients = await Promise.all([1, 2].map(() => RawClient.connect(own.tcp, { version: 5 })));
  await until([1, 1], own);
  const pids = [0, 1].map((worker) => pidOf(worker, own));
  await own.kill();
  assert.deepEqual(await Promise.all(clients.map((client) => client.closingReason())), [0x8b, 0x8b]);
  await eventually(() => !pids.some(isAlive), 'no worker is left');
});

test('workers - one that is asked to stop drains and is replaced, without a moment in which all are not ready', async (t) => {
  const own = await startWorkers();
  t.after(() => own.stop());
  const clients = await Promise.all([1, 2].map(() => RawClient.connect(own.tcp, { version: 5 })));
  await until([1, 1], own);
  const old = pidOf(0, own);
  process.kill(old, 'SIGTERM');
  const statuses = new Set<number>();
  const texts = new Set<string>();
  await eventually(async () => {
    const { status, text } = await readiness(own);
    statuses.add(status);
    texts.add(text);
    return text === 'ready' && pidOf(0, own) !== old;
  }, 'ready again');
  assert.deepEqual([...statuses], [200]);
  assert.ok(texts.size > 1, [...texts].join(', '));
  const closed = clients.filter((client) => client.isClosed);
  assert.equal(closed.length, 1);
  assert.equal(await closed[0]?.closingReason(), 0x8b);
  await Promise.all(clients.map((client) => client.end()));
});
