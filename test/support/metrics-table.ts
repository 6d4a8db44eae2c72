/** The table of docs/metrics.md, made from what a node shows at /metrics. Node's own metrics are left to the documentation of prom-client. */
import { makeMetrics } from '../../src/admin/metrics.ts';
import { makeCounters } from '../../src/counters.ts';

const OURS = 'supermq_';
/** Of a label that clients choose. */
const EXAMPLE = { group: 'g', filter: 'f', pending: 0, unacknowledged: 0 };

const none = (): number => 0;
const gauges: Parameters<typeof makeMetrics>[1] = {
  connectedClients: none,
  openConnections: none,
  subscriptions: none,
  interests: none,
  groupMembers: none,
  groups: none,
  groupLags: async () => [EXAMPLE],
  sessions: none,
  feeds: none,
  willsWaiting: none,
  isShedding: () => false,
  isBusConnected: () => true,
};

export async function metricsTable(): Promise<string> {
  const rows = ['| metric | type | what it counts | labels |', '|---|---|---|---|'];
  const metrics = await makeMetrics(makeCounters(), gauges).getMetricsAsJSON();
  for (const { help, name, type, values } of metrics) {
    if (name.startsWith(OURS)) rows.push(`| \`${name}\` | ${type} | ${help} | ${labelsOf(values)} |`);
  }
  return `${rows.join('\n')}\n`;
}

/** Each label with its values, in their order; the names alone where clients choose the values. */
function labelsOf(values: ReadonlyArray<{ readonly labels: Partial<Record<string, string | number>> }>): string {
  const byName = new Map<string, Set<string>>();
  for (const { labels } of values) {
    for (const [name, value] of Object.entries(labels)) {
      const known = byName.get(name) ?? new Set();
      byName.set(name, known.add(String(value)));
    }
  }
  return [...byName]
    .map(([name, known]) => `\`${name}\`${name in EXAMPLE ? '' : `: ${[...known].join(', ')}`}`)
    .join('; ');
}
