/** The tables of docs/conformance.md: statement, behaviour, tests, results. */
import { basename } from 'node:path';
import { type Coverage, coverageOf, passed } from './coverage.ts';
import type { Setting, TestResult } from './results.ts';

const columns: ReadonlyArray<readonly [Setting, string]> = [
  ['embedded', 'embedded'],
  ['nats', 'one node'],
  ['three-nodes', 'three nodes'],
  ['own', 'others'],
];

/** Everything of docs/conformance.md from the heading `## Behaviours` on. */
export function conformanceTables(results: readonly TestResult[]): string {
  const coverage = coverageOf(results);
  const sections = [...new Set(coverage.map(({ behaviour }) => behaviour.section))];
  const covered = coverage.filter(({ missing }) => missing.length === 0).length;
  const lines = [
    '## Behaviours',
    '',
    `${covered} of ${coverage.length} behaviours are shown by tests that pass.`,
    '',
    ...sections.flatMap((section) => tableOf(section, coverage)),
  ];
  return `${lines.join('\n').trimEnd()}\n`;
}

function tableOf(section: string, coverage: readonly Coverage[]): string[] {
  const rows = coverage.filter(({ behaviour }) => behaviour.section === section).map(rowOf);
  const titles = columns.map(([, title]) => title).join(' | ');
  return [
    `### ${section}`,
    '',
    `| statements | behaviour | tests in | ${titles} |`,
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
  ];
}

function rowOf({ behaviour, missing, tests }: Coverage): string {
  const { marks, statements, text } = behaviour;
  const files = [...new Set(tests.map(({ file }) => basename(file, '.test.ts')))].sort();
  const marked = marks.length === 0 ? '' : ` ${marks.map((mark) => `[${mark}]`).join('')}`;
  const gaps = missing.length === 0 ? '' : ` **${missing.join('; ')}**`;
  const counts = columns.map(([setting]) => countOf(tests.filter((test) => test.setting === setting)));
  const cells = [statements.join(', '), `${text.replaceAll('|', '\\|')}${marked}${gaps}`, files.join(', '), ...counts];
  return `| ${cells.join(' | ')} |`;
}

/** `5 ok`, or how many of them passed. */
function countOf(tests: readonly TestResult[]): string {
  const ran = tests.filter(({ outcome }) => outcome !== 'skipped');
  if (ran.length === 0) return '–';
  const good = ran.filter(passed).length;
  return good === ran.length ? `${good} ok` : `${good} of ${ran.length}`;
}
