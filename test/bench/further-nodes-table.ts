/** The table of further-nodes.ts: what a message costs with further nodes, and in the cluster without them that was measured just before or after. Pure functions. */
import { groups } from './scaling-figures.ts';
import { cell } from './table.ts';

export interface FurtherNodesFigures {
  readonly publishedRate: number;
  /** Of the active nodes, and of all NATS servers, in microseconds for each published message. */
  readonly edgeCpu: number;
  readonly natsCpu: number;
}

export interface FurtherNodesPoint {
  readonly nats: number;
  readonly round: number;
  readonly scenario: string;
  readonly active: number;
  readonly further: number;
  readonly figures: FurtherNodesFigures;
  /** With no further node. */
  readonly alone: FurtherNodesFigures;
}

/** Columns of a kind of CPU time. */
function columns(points: readonly FurtherNodesPoint[], name: 'edgeCpu' | 'natsCpu'): string[] {
  return [
    cell(points.map(({ alone }) => alone[name])),
    cell(points.map(({ figures }) => figures[name])),
    cell(points.map(({ alone, figures }) => figures[name] / alone[name])),
  ];
}

/** Rows by scenario, active and further nodes. */
export function furtherNodesTable(points: readonly FurtherNodesPoint[]): string {
  const head = ['scenario', 'active nodes', 'further nodes', 'measured', 'published/s'];
  head.push('edge µs, none further', 'with them', '×', 'NATS µs, none further', 'with them', '×');
  const lines = rowsOf(points).map((row) => {
    const rate = cell(row.map(({ figures }) => figures.publishedRate));
    const who = [row[0]?.scenario, row[0]?.active, row[0]?.further, row.length];
    return `| ${[...who, rate, ...columns(row, 'edgeCpu'), ...columns(row, 'natsCpu')].join(' | ')} |`;
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
