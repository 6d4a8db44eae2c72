/** The table of further-nodes.ts: medians, and each round compared with its own smallest cluster. Pure functions. */
import { groups } from './scaling-figures.ts';
import { cell } from './table.ts';

export interface FurtherNodesPoint {
  readonly nats: number;
  /** Runs of one round are of the same processes. */
  readonly round: number;
  readonly scenario: string;
  readonly active: number;
  readonly further: number;
  readonly figures: Readonly<Record<string, number>>;
}

/** Their growth is what is asked for. */
const COMPARED = ['edge µs', 'NATS µs'];

/** Rows by scenario, active and further nodes. */
export function furtherNodesTable(points: readonly FurtherNodesPoint[]): string {
  const names = Object.keys(points[0]?.figures ?? {});
  const columns = names.flatMap((name) => (COMPARED.includes(name) ? [name, `× no further, ${name}`] : [name]));
  const head = ['scenario', 'active nodes', 'further nodes', ...columns];
  const lines = rowsOf(points).map((row) => {
    const cells = names.flatMap((name) => {
      const shown = cell(row.map(({ figures }) => figures[name] ?? Number.NaN));
      return COMPARED.includes(name) ? [shown, cell(row.map((point) => ratio(point, points, name)))] : [shown];
    });
    return `| ${[row[0]?.scenario, row[0]?.active, row[0]?.further, ...cells].join(' | ')} |`;
  });
  return [`| ${head.join(' | ')} |`, `|---|${'---:|'.repeat(head.length - 1)}`, ...lines].join('\n');
}

function rowsOf(points: readonly FurtherNodesPoint[]): FurtherNodesPoint[][] {
  const sorted = [...points].sort((one, other) => one.active - other.active || one.further - other.further);
  const ofScenarios = groups(points, ({ scenario }) => scenario).map(([first]) => first?.scenario);
  return ofScenarios.flatMap((name) =>
    groups(
      sorted.filter(({ scenario }) => scenario === name),
      ({ active, further }) => `${active} ${further}`,
    ),
  );
}

/** Against the same round without further nodes; NaN where that failed. */
function ratio(point: FurtherNodesPoint, points: readonly FurtherNodesPoint[], name: string): number {
  const { round, scenario, active } = point;
  const smallest = points.find(
    (other) => other.round === round && other.scenario === scenario && other.active === active && other.further === 0,
  );
  return (point.figures[name] ?? Number.NaN) / (smallest?.figures[name] ?? Number.NaN);
}
