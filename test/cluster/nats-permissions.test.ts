/**
 * The accounts of deploy/nats on a real server: nodes with the edge's user do all that nodes do without one refusal, and neither that user
 * nor an application's may do what is not theirs.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NatsConnection } from 'nats';
import {
  doEverydayWork,
  edgeEnvironment,
  loseNode,
  type Place,
  provisionEnvironment,
  type User,
  violations,
} from '../support/everyday-work.ts';
import type { NatsServerProcess } from '../support/nats-server.ts';
import { EdgeProcess, environment } from '../support/node.ts';
import { connectAs, runCommand, startPrivilegedNats } from '../support/privileged-nats.ts';
import { RawClient } from '../support/raw-client.ts';

const LEASE_SECONDS = 5;

interface OneServer extends Place {
  readonly nats: NatsServerProcess;
}

async function open(file: string, topicPrefix: string): Promise<OneServer> {
  const nats = await startPrivilegedNats(file);
  const env = { ...edgeEnvironment(nats.url, topicPrefix), SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS) };
  const startEdge = (name: string): Promise<EdgeProcess> => EdgeProcess.start({ ...env, SUPERMQ_NODE_ID: name });
  const as = (user: User): Promise<NatsConnection> => connectAs(user, nats.url);
  return { nats, prefix: topicPrefix === '' ? '' : `${topicPrefix}.`, edges: [], startEdge, as };
}

async function close({ edges, nats }: OneServer): Promise<void> {
  await Promise.all(edges.map((edge) => edge.stop()));
  await nats.stop();
}

for (const [file, topicPrefix] of [
  ['accounts.conf', 'mqtt'],
  ['accounts-without-prefix.conf', ''],
] as const) {
  describe(`NATS permissions - ${file}`, { timeout: 180_000 }, () => {
    test('nodes need streams that another user makes, then do all that nodes do, and nothing is refused', async (t) => {
      const place = await open(file, topicPrefix);
      t.after(() => close(place));
      const refused = await runCommand([], await environment(edgeEnvironment(place.nats.url, topicPrefix)));
      assert.equal(refused.code, 1);
      assert.match(refused.output, /SMQ_LOG, SMQ_RETAINED, .* are missing in JetStream, and nats\.provision is check/);
      const made = await runCommand(['provision'], provisionEnvironment(place.nats.url));
      assert.equal(made.code, 0, made.output);
      place.edges.push(await place.startEdge('edge-a'), await place.startEdge('edge-b'));
      const [a, b] = place.edges;
      assert.ok(a !== undefined && b !== undefined);
      // While such a filter stands, the server compares all messages for the node with what is denied to it: those of consumers too.
      for (const { tcp } of [a, b]) assert.deepEqual(await (await RawClient.connect(tcp)).subscribe('+/+/+/+'), [0]);
      await doEverydayWork(place);
      await loseNode(place);
      assert.deepEqual(violations(place.nats.log()), []);
      for (const edge of place.edges) {
        assert.equal(await edge.metric('supermq_bus_refused_total'), 0);
      }
      await strangers(place);
    });
  });
}

/** What each user may not do is refused by the server, not only left undone by us. */
async function strangers({ as, nats, prefix }: OneServer): Promise<void> {
  const before = nats.log().length;
  const edge = await as('edge');
  const refusedTo = async (connection: NatsConnection, subject: string): Promise<void> => {
    await assert.rejects(
      connection.request(subject, '', { timeout: 15_000 }),
      /Permissions Violation|PERMISSIONS_VIOLATION/i,
      subject,
    );
  };
  for (const call of [
    'STREAM.DELETE.SMQ_LOG',
    'STREAM.PURGE.KV_SMQ_SESSIONS',
    'STREAM.CREATE.OTHER',
    'STREAM.UPDATE.SMQ_LOG',
    'CONSUMER.DELETE.SMQ_LOG.x',
    'STREAM.NAMES',
  ])
    await refusedTo(edge, `$JS.API.${call}`);
  await refusedTo(edge, '_INBOX.somebody');
  const application = await as('application');
  for (const subject of [
    '$JS.API.STREAM.MSG.GET.KV_SMQ_SESSIONS',
    '$KV.SMQ_SESSIONS.x',
    '$SMQ.client.x',
    `$SMQ.live.${prefix}a`,
    '_INBOX_edge.x',
  ])
    await refusedTo(application, subject);
  for (const subject of ['_INBOX_edge.>', '$KV.>', '$SMQ.client.*']) {
    const failed = new Promise<unknown>((resolve) => {
      application.subscribe(subject, { callback: (error) => resolve(error) });
    });
    assert.match(String(await failed), /permission/i, subject);
  }
  assert.ok(nats.log().slice(before).includes('Violation'), 'the test sees refusals in the log of the server');
  await edge.close();
  await application.close();
}
