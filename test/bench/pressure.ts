/**
 * Back-pressure: what happens to the edge, to those who keep up and to the messages when a subscriber or NATS does not. A fresh nats-server and edge
 * process for each case; prints a Markdown table for subscribers and one for NATS.
 *
 *   npm run bench:pressure -- [--write] [subscribers | nats | case...]       --write: whole tables into docs/benchmarks.md
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { natsServerBinary } from '../support/nats-binary.ts';
import { circumstances } from './circumstances.ts';
import { replaceSection } from './document.ts';
import { type Case, cases, type Pressure, pressures } from './pressure-cases.ts';
import { type Outcome, underPressure } from './pressure-place.ts';
import { natsVersion, supermqVersion } from './versions.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { write: { type: 'boolean', default: false } },
});
const document = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));
const head = [
  '| case | published/s | delivered/s | p99 ms | lost | dropped by the edge | MiB before | peak | after |',
  '|---|---:|---:|---:|---:|---|---:|---:|---:|',
];

function row(title: string, { dropped, load, memory }: Outcome): string {
  if (load.error !== undefined) return `| ${title} | ${load.error} |`;
  const whole = (value: number): string => Math.round(value).toLocaleString('en');
  const causes = [...dropped].map(([cause, count]) => `${whole(count)} ${cause}`).join(', ');
  const cells = [load.publishRate, load.deliverRate, load.p99Milliseconds, load.lost].map(whole);
  const sizes = [memory.before, memory.peak, memory.after].map(whole);
  return `| ${[title, ...cells, causes === '' ? '–' : causes, ...sizes].join(' | ')} |`;
}

async function rows(wanted: readonly Case[]): Promise<string[]> {
  const lines: string[] = [];
  for (const { beside, load, title } of wanted) {
    process.stderr.write(`${title}\n`);
    lines.push(row(title, await underPressure(load.split(' '), beside)));
  }
  return lines;
}

async function below(pressure: Pressure): Promise<string> {
  const versions = [
    { name: 'supermq', version: supermqVersion() },
    { name: 'nats-server', version: natsVersion(await natsServerBinary()) },
  ];
  return circumstances({ rounds: 1, versions, command: `npm run bench:pressure -- ${pressure}` });
}

function isWanted(name: string, pressure: Pressure): boolean {
  return positionals.length === 0 || positionals.includes(name) || positionals.includes(pressure);
}

async function main(): Promise<void> {
  const unknown = positionals.find((name) => cases[name] === undefined && !pressures.some((known) => known === name));
  if (unknown !== undefined) throw new Error(`no case ${unknown}; there are ${Object.keys(cases).join(', ')}`);
  if (values.write && positionals.some((name) => cases[name] !== undefined))
    throw new Error('--write takes whole tables: subscribers, nats or both');
  for (const pressure of pressures) {
    const all = Object.entries(cases).filter(([, one]) => one.pressure === pressure);
    const wanted = all.filter(([name]) => isWanted(name, pressure)).map(([, one]) => one);
    if (wanted.length === 0) continue;
    const text = [[...head, ...(await rows(wanted))].join('\n'), await below(pressure)].join('\n\n');
    process.stdout.write(`${text}\n\n`);
    if (!values.write) continue;
    writeFileSync(document, replaceSection(readFileSync(document, 'utf8'), `pressure-${pressure}`, text));
  }
}

await main();
process.exit(0);
