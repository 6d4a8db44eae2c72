/** The metrics of several workers as those of one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Histogram, type Registry } from 'prom-client';
import { makeMetrics } from '../../../src/admin/metrics.ts';
import { type MetricSnapshot, WorkerMetrics } from '../../../src/admin/worker-metrics.ts';
import { makeCounters } from '../../../src/counters.ts';

const figures = { configured: 2, running: 2, restarts: 3, silences: 4 };
const both = new Set([0, 1]);

interface Told {
  readonly clients: number;
  readonly received: number;
  readonly expired?: number;
  readonly isBusConnected?: boolean;
}

/** What a worker tells, as it comes from its process. */
async function metricsOf({ clients, expired = 0, isBusConnected = true, received }: Told): Promise<MetricSnapshot[]> {
  const counters = makeCounters();
  counters.messagesReceived = received;
  counters.dropped.expired = expired;
  const none = (): number => 0;
  const registry = makeMetrics(counters, {
    connectedClients: () => clients,
    openConnections: none,
    subscriptions: none,
    interests: none,
    groupMembers: none,
    groups: none,
    groupLags: async () => [{ group: 'g', filter: 'f', pending: 7, unacknowledged: clients }],
    sessions: none,
    feeds: none,
    willsWaiting: none,
    isShedding: () => false,
    isBusConnected: () => isBusConnected,
  });
  const histogram = new Histogram({ name: 'seconds', help: 'h', buckets: [1, 2], registers: [registry] });
  histogram.observe(1.5);
  return JSON.parse(JSON.stringify(await registry.getMetricsAsJSON())) as MetricSnapshot[];
}

async function values(registry: Registry, ...names: string[]): Promise<Array<number | undefined>> {
  const lines = (await registry.metrics()).split('\n');
  return names.map((name) => {
    const line = lines.find((candidate) => candidate.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length));
  });
}

test('workers - counters, labelled ones, gauges and histograms are summed; what is one for all is not', async () => {
  const metrics = new WorkerMetrics();
  metrics.told(0, await metricsOf({ clients: 3, received: 10, expired: 1 }));
  metrics.told(1, await metricsOf({ clients: 5, received: 20, expired: 4, isBusConnected: false }));
  const registry = metrics.sum(both, figures);
  assert.deepEqual(
    await values(
      registry,
      'supermq_clients_connected',
      'supermq_messages_received_total',
      'supermq_messages_dropped_total{cause="expired"}',
      'seconds_bucket{le="2"}',
      'seconds_sum',
    ),
    [8, 30, 5, 2, 3],
  );
  const [pending, unacknowledged] = ['pending', 'unacknowledged'].map(
    (name) => `supermq_group_${name}{group="g",filter="f"}`,
  );
  assert.deepEqual(await values(registry, pending ?? '', unacknowledged ?? '', 'supermq_bus_connected'), [7, 5, 0]);
});

test('workers - the primary adds what it knows, and the clients of each worker', async () => {
  const metrics = new WorkerMetrics();
  metrics.told(0, await metricsOf({ clients: 3, received: 0 }));
  metrics.told(1, await metricsOf({ clients: 5, received: 0 }));
  assert.deepEqual(
    await values(
      metrics.sum(both, figures),
      'supermq_workers',
      'supermq_workers_configured',
      'supermq_worker_restarts_total',
      'supermq_worker_silences_total',
      'supermq_worker_clients_connected{worker="0"}',
      'supermq_worker_clients_connected{worker="1"}',
    ),
    [2, 2, 3, 4, 3, 5],
  );
});

test('workers - no counter falls when a worker is silent, ends, and begins anew; its gauges are gone', async () => {
  const names = ['supermq_messages_received_total', 'seconds_count', 'supermq_clients_connected'];
  const metrics = new WorkerMetrics();
  metrics.told(0, await metricsOf({ clients: 3, received: 10 }));
  metrics.told(1, await metricsOf({ clients: 5, received: 20 }));
  assert.deepEqual(await values(metrics.sum(both, figures), ...names), [30, 2, 8]);
  const first = new Set([0]);
  assert.deepEqual(await values(metrics.sum(first, figures), ...names), [30, 2, 3], 'silent');
  metrics.ended(1);
  assert.deepEqual(await values(metrics.sum(first, figures), ...names), [30, 2, 3], 'ended');
  metrics.told(1, await metricsOf({ clients: 1, received: 2 }));
  assert.deepEqual(await values(metrics.sum(both, figures), ...names), [32, 3, 4], 'anew');
  metrics.ended(1);
  metrics.ended(0);
  assert.deepEqual(await values(metrics.sum(new Set(), figures), ...names.slice(0, 2)), [32, 3], 'all ended');
});

test('workers - before anybody has told anything there is what the primary knows', async () => {
  const registry = new WorkerMetrics().sum(new Set(), { ...figures, running: 0 });
  assert.deepEqual(await values(registry, 'supermq_workers', 'supermq_clients_connected'), [0, undefined]);
});
