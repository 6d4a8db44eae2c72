/** From counters to figures per published message, and to the tables of docs/sizing.md. Pure functions. */
import { cell, median } from './table.ts';

/** Running totals over all nodes and all NATS servers; CPU in microseconds. */
export interface Counters {
  readonly seconds: number;
  readonly edgeCpu: number;
  readonly natsCpu: number;
  readonly published: number;
  readonly delivered: number;
  /** Between nodes and NATS, without routes. */
  readonly natsIn: number;
  readonly natsOut: number;
  readonly natsInBytes: number;
  readonly natsOutBytes: number;
  /** From one NATS server to another. */
  readonly routed: number;
  readonly storedBytes: number;
}

export type Figures = Readonly<Record<string, number>>;

/** Under what circumstances something was measured. `rate` 0: as fast as it goes, or idle. */
export interface Point {
  readonly nats: number;
  readonly nodes: number;
  readonly scenario: string;
  readonly rate: number;
  readonly figures: Figures;
}

/** What each counter grew by in a second. */
export function perSecond(from: Counters, to: Counters): Counters {
  const seconds = to.seconds - from.seconds;
  const entries = Object.entries(to).map(([name, value]) => [name, (value - from[name as keyof Counters]) / seconds]);
  return Object.fromEntries(entries) as unknown as Counters; // the same keys
}

/** Per published message, less what the same nodes do when they are idle. */
export function perMessage(busy: Counters, idle: Counters): Figures {
  const each = (name: keyof Counters): number => (busy[name] - idle[name]) / busy.published;
  return {
    'published/s': busy.published,
    'edge µs': each('edgeCpu'),
    'NATS µs': each('natsCpu'),
    deliveries: each('delivered'),
    'NATS in': each('natsIn'),
    'NATS out': each('natsOut'),
    'bytes in': each('natsInBytes'),
    'bytes out': each('natsOutBytes'),
    'over routes': each('routed'),
    'stored bytes': each('storedBytes'),
  };
}

/** Rows by nodes and rate, with edge CPU per message against one node: at the same rate in all, and at the same rate for each node. */
export function scalingTable(points: readonly Point[]): string {
  const isShown = (name: string): boolean => points.some(({ figures }) => Math.abs(figures[name] ?? 0) >= 0.05);
  const names = Object.keys(points[0]?.figures ?? {}).filter(isShown);
  const sorted = [...points].sort(
    (a, b) => a.nodes - b.nodes || (a.rate || Number.MAX_VALUE) - (b.rate || Number.MAX_VALUE),
  );
  const lines = groups(sorted, ({ nodes, rate }) => `${nodes} ${rate}`).map((row) => {
    const [{ nodes, rate } = { nodes: 0, rate: 0 }] = row;
    const cells = names.map((name) => cell(row.map(({ figures }) => figures[name] ?? Number.NaN)));
    const one = [rate, rate / nodes].map((single) => ratio(edgeCpu(points, nodes, rate), edgeCpu(points, 1, single)));
    return `| ${[nodes, rate || 'saturated', ...cells, ...one].join(' | ')} |`;
  });
  const head = ['nodes', 'rate/s', ...names, '× 1 node, same rate', '× 1 node, same rate each'];
  return [`| ${head.join(' | ')} |`, `|${head.map(() => '---:|').join('')}`, ...lines].join('\n');
}

function edgeCpu(points: readonly Point[], nodes: number, rate: number): number {
  const same = points.filter((point) => point.nodes === nodes && point.rate === rate);
  return median(same.map(({ figures }) => figures['edge µs'] ?? Number.NaN));
}

function ratio(ours: number, one: number): string {
  return Number.isFinite(ours / one) ? (ours / one).toFixed(2) : '';
}

/** What nodes and NATS do with no client at all: rows by nodes. */
export function idleTable(points: readonly Point[]): string {
  const names = Object.keys(points[0]?.figures ?? {});
  const rows = groups(points, ({ nodes }) => `${nodes}`).map((row) => {
    const cells = names.map((name) => cell(row.map(({ figures }) => figures[name] ?? Number.NaN)));
    return `| ${[row[0]?.nodes, ...cells].join(' | ')} |`;
  });
  return [`| idle nodes | ${names.join(' | ')} |`, `|---:|${names.map(() => '---:|').join('')}`, ...rows].join('\n');
}

/** Items with the same key together, in order of their first. */
export function groups<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const found = new Map<string, T[]>();
  for (const item of items) found.set(key(item), [...(found.get(key(item)) ?? []), item]);
  return [...found.values()];
}
