/**
 * The accounts of deploy/nats on three nats-servers with three copies of everything, nodes on different ones: nothing that nodes do is refused,
 * not by another server either, and not when a server is killed under them.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  doEverydayWork,
  edgeEnvironment,
  loseNode,
  provisionEnvironment,
  violations,
} from '../support/everyday-work.ts';
import { type NatsCluster, startNatsCluster } from '../support/nats-cluster.ts';
import { EdgeProcess } from '../support/node.ts';
import { poll } from '../support/poll.ts';
import { accountsOf, connectAs, runCommand } from '../support/privileged-nats.ts';
import { RawClient } from '../support/raw-client.ts';

const LEASE_SECONDS = 10;
/** Elections, and the way of a node to another server. */
const RECOVERY_MILLISECONDS = 60_000;
const MOVED = /"event":"nats\.reconnected"/;

for (const [file, topicPrefix] of [
  ['accounts.conf', 'mqtt'],
  ['accounts-without-prefix.conf', ''],
] as const) {
  describe(`NATS permissions in a cluster - ${file}`, { timeout: 240_000 }, () => {
    test('nothing is refused to nodes on different servers, before and after one of the servers is killed', async (t) => {
      const cluster = await startNatsCluster(3, { extraConfig: accountsOf(file) });
      const started: EdgeProcess[] = [];
      t.after(async () => {
        await Promise.all(started.map((edge) => edge.stop()));
        await cluster.stop();
      });
      const [first = '', second = '', third = ''] = cluster.urls;
      const env = { SUPERMQ_NATS_REPLICAS: '3', SUPERMQ_LEASE_SECONDS: String(LEASE_SECONDS) };
      const made = await runCommand(['provision'], { ...provisionEnvironment(first), ...env });
      assert.equal(made.code, 0, made.output);
      const start = async (name: string, server: string): Promise<EdgeProcess> => {
        const node = { ...edgeEnvironment(server, topicPrefix), ...env, SUPERMQ_NODE_ID: name };
        const edge = await EdgeProcess.start(node);
        started.push(edge);
        return edge;
      };
      const place = {
        prefix: topicPrefix === '' ? '' : `${topicPrefix}.`,
        edges: [await start('edge-a', first), await start('edge-b', second)],
        startEdge: (name: string) => start(name, first),
        as: (user: 'edge' | 'provision' | 'application') => connectAs(user, third),
      };
      await doEverydayWork(place);
      await loseNode(place);
      const [a, b] = place.edges;
      assert.ok(a !== undefined && b !== undefined);
      await cluster.servers[0]?.kill();
      await poll(async () => MOVED.test(a.wholeOutput), { what: 'the node moves', timeoutMs: RECOVERY_MILLISECONDS });
      for (const edge of [a, b]) await serves(edge);
      await doEverydayWork(place);
      for (const server of cluster.servers) assert.deepEqual(violations(server.log()), []);
      for (const { wholeOutput } of started) assert.doesNotMatch(wholeOutput, /nats\.(refused|subscriptionRefused)/);
      for (const edge of [a, b]) assert.equal(await edge.metric('supermq_bus_refused_total'), 0);
      await seesRefusals(cluster);
    });
  });
}

/** Every stream has a leader again, those of sessions and wills too, so has the consumer of the group that the work leaves behind, and the node its lease. */
async function serves(edge: EdgeProcess): Promise<void> {
  const will = { topic: 'recovered/will', payload: Buffer.from('x'), qos: 1 as const, retain: false };
  const stores = async (): Promise<boolean> => {
    let client: RawClient | undefined;
    try {
      const session = { clientId: 'recovered', properties: { sessionExpiryInterval: 60 } };
      const connected = await RawClient.connect(edge.tcp, { version: 5, ...session, will });
      client = connected;
      if (connected.connack.reasonCode !== 0) return false;
      await client.subscribe({ topic: 'recovered/+', qos: 1 }, { topic: '$share/workers/jobs/#', qos: 2 });
      for (const payload of ['x', '']) await client.publishAcknowledged('recovered/x', payload, 1, { retain: true });
      await client.end(0);
      return true;
    } catch {
      return false; // no answer yet
    } finally {
      await client?.abort();
    }
  };
  await poll(stores, { what: 'a node that serves', timeoutMs: RECOVERY_MILLISECONDS });
}

/** What was looked for in vain is found when it is there. */
async function seesRefusals({ servers, urls }: NatsCluster): Promise<void> {
  const [, server] = servers;
  const [, url = ''] = urls;
  const edge = await connectAs('edge', url);
  edge.publish('$JS.API.STREAM.PURGE.SMQ_LOG');
  await edge.flush();
  await poll(async () => violations(server?.log() ?? '').length > 0, { what: 'a refusal', timeoutMs: 10_000 });
  await edge.close();
}
