/** The streams of supermq on real servers: made once whoever comes first, never changed, and clear words when they cannot be. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { NatsConnection } from 'nats';
import { type Logger, pino } from 'pino';
import { systemClock } from '../../src/clock.ts';
import { ApiError, Requests } from '../../src/nats/jetstream.ts';
import { JetStreamMissingError, provision, type StorageSettings } from '../../src/nats/provision.ts';
import { connectWired } from '../../src/nats/wire/connect.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { poll } from '../support/poll.ts';
import { freePort } from '../support/ports.ts';

const STREAMS = ['KV_SMQ_NODES', 'KV_SMQ_SESSIONS', 'KV_SMQ_WILLS', 'SMQ_LOG', 'SMQ_RETAINED'];
/** Well below what waiting for a cluster to form would take. */
const AT_ONCE_MILLISECONDS = 10_000;
const settings: StorageSettings = {
  replicas: 1,
  storage: 'file',
  logMaxAgeSeconds: 3_600,
  logMaxBytes: 10_000_000,
  logDiscard: 'new',
  duplicateWindowSeconds: 60,
};

interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

interface Node {
  readonly requests: Requests;
  readonly logger: Logger;
  /** Warnings and errors. */
  readonly lines: LogLine[];
  close(): Promise<void>;
}

async function openNode(servers: string | string[], login: { user?: string; pass?: string } = {}): Promise<Node> {
  const connection: NatsConnection = await connectWired({
    servers,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    ...login,
  });
  const requests = new Requests(connection, systemClock);
  const lines: LogLine[] = [];
  const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line) as LogLine) }); // decoded border: pino's own JSON
  const close = async (): Promise<void> => {
    requests.close();
    await connection.close();
  };
  return { requests, logger, lines, close };
}

async function streamNames({ requests }: Node): Promise<string[]> {
  const { streams } = await requests.api<{ streams: string[] }>('STREAM.NAMES');
  return streams.sort();
}

async function configOf({ requests }: Node, name: string): Promise<Record<string, unknown>> {
  return (await requests.api<{ config: Record<string, unknown> }>(`STREAM.INFO.${name}`)).config;
}

/** Rejects if it takes long: for what need not be waited for. */
async function atOnce(outcome: Promise<void>): Promise<void> {
  const started = performance.now();
  try {
    await outcome;
  } finally {
    const took = performance.now() - started;
    assert.ok(took < AT_ONCE_MILLISECONDS, `took ${Math.round(took)} ms`);
  }
}

describe('on a server of its own', () => {
  let server: NatsServerProcess;
  let node: Node;
  before(async () => {
    server = await startNatsServer();
    node = await openNode(server.url);
  });
  after(async () => {
    await node.close();
    await server.stop();
  });

  test('ten nodes that start at once make every stream once, and none complains', async () => {
    const nodes = await Promise.all(Array.from({ length: 10 }, () => openNode(server.url)));
    await Promise.all(nodes.map(({ logger, requests }) => provision(requests, settings, logger)));
    assert.deepEqual(
      nodes.flatMap(({ lines }) => lines),
      [],
    );
    assert.deepEqual(await streamNames(node), STREAMS);
    await Promise.all(nodes.map((each) => each.close()));
  });

  test('the log keeps what was promised: nobody deletes or purges, live copies, direct reads, a TTL for each message', async () => {
    const wanted = {
      subjects: ['$SMQ.log.>'],
      retention: 'limits',
      storage: 'file',
      num_replicas: 1,
      max_age: 3_600e9,
      max_bytes: 10_000_000,
      discard: 'new',
      duplicate_window: 60e9,
      allow_direct: true,
      allow_msg_ttl: true,
      deny_delete: true,
      deny_purge: true,
      allow_rollup_hdrs: false,
      republish: { src: '$SMQ.log.>', dest: '$SMQ.live.>' },
    };
    const found = await configOf(node, 'SMQ_LOG');
    for (const [setting, value] of Object.entries(wanted)) assert.deepEqual(found[setting], value, setting);
    assert.equal((found['metadata'] as Record<string, string>)['supermq-version'], '1'); // as provision wrote it
    await assert.rejects(node.requests.api('STREAM.PURGE.SMQ_LOG'), ApiError);
    await assert.rejects(node.requests.api('STREAM.MSG.DELETE.SMQ_LOG', { seq: 1 }), ApiError);
  });

  test('a session bucket keeps one record for each client', async () => {
    const found = await configOf(node, 'KV_SMQ_SESSIONS');
    assert.deepEqual(found['subjects'], ['$KV.SMQ_SESSIONS.>']);
    assert.equal(found['max_msgs_per_subject'], 1);
    assert.equal(found['allow_msg_ttl'], true);
    assert.equal(found['deny_delete'], true);
  });

  test('a stream with other settings is reported by name and setting, and left as it is', async () => {
    const { lines, logger, requests, close } = await openNode(server.url);
    await provision(requests, { ...settings, logMaxAgeSeconds: 60, logDiscard: 'old' }, logger);
    const reported = lines.map(({ event, stream, setting, wanted, found }) => ({
      event,
      stream,
      setting,
      wanted,
      found,
    }));
    assert.deepEqual(reported, [
      { event: 'nats.streamDiffers', stream: 'SMQ_LOG', setting: 'max_age', wanted: 60e9, found: 3_600e9 },
      { event: 'nats.streamDiffers', stream: 'SMQ_LOG', setting: 'discard', wanted: 'old', found: 'new' },
    ]);
    assert.equal((await configOf(node, 'SMQ_LOG'))['max_age'], 3_600e9);
    await close();
  });

  test('streams of a newer supermq stop the node', async () => {
    const config = await configOf(node, 'KV_SMQ_SESSIONS');
    const newer = { ...config, metadata: { 'supermq-version': '2' } };
    await node.requests.api('STREAM.UPDATE.KV_SMQ_SESSIONS', newer);
    await assert.rejects(provision(node.requests, settings, node.logger), /KV_SMQ_SESSIONS .*newer supermq/);
    await node.requests.api('STREAM.UPDATE.KV_SMQ_SESSIONS', config);
  });
});

test('more copies than a server without a cluster can keep are refused at once', async () => {
  const server = await startNatsServer();
  const { close, logger, requests } = await openNode(server.url);
  await atOnce(assert.rejects(provision(requests, { ...settings, replicas: 3 }, logger), ApiError));
  await close();
  await server.stop();
});

test('settings that JetStream finds impossible are refused at once', async () => {
  const server = await startNatsServer();
  const { close, lines, logger, requests } = await openNode(server.url);
  const longer = { ...settings, duplicateWindowSeconds: 7_200 };
  await atOnce(assert.rejects(provision(requests, longer, logger), /duplicates window/));
  assert.deepEqual(lines, []);
  await close();
  await server.stop();
});

test('a server that does not answer: the wait ends when the node is asked to stop', async () => {
  const server = await startNatsServer();
  const { close, lines, logger, requests } = await openNode(server.url);
  server.pause();
  const stopping = new AbortController();
  const outcome = provision(requests, { ...settings, signal: stopping.signal }, logger);
  outcome.catch(() => {});
  await poll(async () => lines.length > 0, { what: 'the first attempt to fail', timeoutMs: 20_000 });
  stopping.abort(new Error('asked to stop'));
  await atOnce(assert.rejects(outcome, /asked to stop/));
  server.resume();
  await close();
  await server.stop();
});

test('a server without JetStream: a sentence that says what to do, soon', async () => {
  const server = await startNatsServer({ jetstream: false });
  const { close, logger, requests } = await openNode(server.url);
  await atOnce(assert.rejects(provision(requests, settings, logger), JetStreamMissingError));
  await close();
  await server.stop();
});

test('an account without JetStream: the same', async () => {
  const extraConfig = 'accounts { A: { users: [{ user: a, password: a }] } }';
  const server = await startNatsServer({ extraConfig });
  const { close, logger, requests } = await openNode(server.url, { user: 'a', pass: 'a' });
  await atOnce(assert.rejects(provision(requests, settings, logger), JetStreamMissingError));
  await close();
  await server.stop();
});

test('a cluster that lacks a server for as many copies as are wanted is waited for', { timeout: 90_000 }, async () => {
  const routePorts = await Promise.all([0, 1, 2].map(freePort));
  const start = (index: number): Promise<NatsServerProcess> =>
    startNatsServer({
      name: `forming-${index}`,
      cluster: { name: 'forming', port: routePorts[index] ?? 0, routePorts },
    });
  const servers = await Promise.all([start(0), start(1)]);
  const node = await openNode(servers[0]?.url ?? '');
  const made = provision(node.requests, { ...settings, replicas: 3 }, node.logger);
  made.catch(() => {});
  await poll(async () => node.lines.length > 1, { what: 'a word that there are too few', timeoutMs: 40_000 });
  servers.push(await start(2));
  await made;
  assert.deepEqual([...new Set(node.lines.map(({ event }) => event))], ['nats.streamsNotReady']);
  assert.deepEqual(await streamNames(node), STREAMS);
  await node.close();
  await Promise.all(servers.map((server) => server.stop()));
});
