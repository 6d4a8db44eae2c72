/** Results of rounds as a Markdown table: medians with their spread, the reasons of what failed, and how supermq compares. Pure functions. */

/** What one round measured; NaN for what the scenario does not tell. */
export type Figures = Readonly<Record<string, number>>;

/** One round of one server: figures, or why there are none. */
export type Outcome = { readonly figures: Figures } | { readonly failed: string };

export interface Row {
  readonly peer: string;
  readonly rounds: readonly Outcome[];
}

const OURS = 'supermq';
const COMPARED = ['mosquitto', 'nats-server mqtt'];
const ALONE = 'per CPU-s';
const WITH_NATS = 'per CPU-s with NATS';

/** The middle value, the mean of both middle ones for an even number; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low, high] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}

/** `median (least–most)`; without the spread where there is none to see. */
export function cell(values: readonly number[]): string {
  const known = values.filter((value) => !Number.isNaN(value));
  if (known.length === 0) return '';
  const [middle, least, most] = [median(known), Math.min(...known), Math.max(...known)].map(shown);
  return least === most ? `${middle}` : `${middle} (${least}–${most})`;
}

function shown(value: number): string {
  if (Math.abs(value) < 10) return String(Math.round(value * 100) / 100);
  return value < 100 ? String(Math.round(value * 10) / 10) : Math.round(value).toLocaleString('en');
}

/** The table, then a line for each server that failed, then the comparison. */
export function table(scenario: string, rows: readonly Row[]): string {
  const all = rows.flatMap(figuresOf);
  const names = Object.keys(all[0] ?? {}).filter((name) => all.some((figures) => !Number.isNaN(figures[name])));
  const lines = [
    `| ${[scenario, ...names].join(' | ')} |`,
    `|---|${names.map(() => '---:|').join('')}`,
    ...rows.map((row) => `| ${[row.peer, ...cells(row, names)].join(' | ')} |`),
  ];
  const remarks = [...rows.flatMap(failures), comparison(rows)].filter((remark) => remark !== '');
  return [lines.join('\n'), ...remarks].join('\n\n');
}

function figuresOf({ rounds }: Row): Figures[] {
  return rounds.flatMap((outcome) => ('figures' in outcome ? [outcome.figures] : []));
}

function cells(row: Row, names: readonly string[]): string[] {
  const measured = figuresOf(row);
  if (measured.length === 0) return names.map(() => '–');
  return names.map((name) => cell(measured.map((figures) => figures[name] ?? Number.NaN)));
}

function failures({ peer, rounds }: Row): string[] {
  const reasons = rounds.flatMap((outcome) => ('failed' in outcome ? [outcome.failed] : []));
  if (reasons.length === 0) return [];
  const often = reasons.length === rounds.length ? '' : ` in ${reasons.length} of ${rounds.length} rounds`;
  return [`${peer} failed${often}: ${[...new Set(reasons)].join('; ')}.`];
}

/** How much more supermq does per CPU second than the others, from the medians; empty where nothing can be compared. */
export function comparison(rows: readonly Row[]): string {
  const medianOf = (peer: string, name: string): number =>
    median(
      rows
        .filter((row) => row.peer === peer)
        .flatMap((row) => figuresOf(row).map((figures) => figures[name] ?? Number.NaN)),
    );
  const ratios = (name: string): string =>
    COMPARED.map((peer) => ({ peer, ratio: medianOf(OURS, name) / medianOf(peer, ALONE) }))
      .filter(({ ratio }) => Number.isFinite(ratio))
      .map(({ peer, ratio }) => `${factor(ratio)} × ${peer}`)
      .join(', ');
  const alone = ratios(ALONE);
  return alone === '' ? '' : `Per CPU-s, ${OURS} is ${alone}; with its nats-server counted in ${ratios(WITH_NATS)}.`;
}

function factor(ratio: number): string {
  return ratio < 10 ? ratio.toFixed(2) : Math.round(ratio).toLocaleString('en');
}
