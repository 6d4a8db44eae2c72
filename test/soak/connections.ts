/**
 * `npm run soak:connections -- --seconds 600 --connections 5000`: waves of clients of all kinds at one edge, and what each leaves behind. Prints a row after
 * each wave; ends with 1 when something is left of a wave, or grows from wave to wave.
 */
import { parseArgs } from 'node:util';
import { runWaves, type Wave } from './connection-waves.ts';
import { growthOver } from './wave-figures.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '600' }, connections: { type: 'string', default: '5000' } },
});

function whole(name: keyof typeof values): number {
  const value = Number(values[name]);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} is not a whole number`);
  return value;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const mebibytes = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);

function row({ crest, floor, number, seconds }: Wave): string {
  const { consumers, external, files, heap, natsSubscriptions, resident, stored } = floor;
  const top = [crest.supermq_clients_connected, crest.supermq_subscriptions, crest.supermq_sessions];
  const sizes = [heap, external, resident].map(mebibytes);
  const left = [files, natsSubscriptions, consumers, stored['SMQ_RETAINED'] ?? 0];
  return `| ${[number, seconds.toFixed(0), ...top, ...sizes, ...left].join(' | ')} |`;
}

const connections = whole('connections');
const end = performance.now() + whole('seconds') * 1_000;
say(
  '| wave | s | clients | subscriptions | sessions | heap MiB | buffers MiB | resident MiB | files | NATS subscriptions | consumers | tombstones |',
);
say(`|${'---:|'.repeat(12)}`);
const waves = await runWaves({
  connections,
  waitsForStores: true,
  goesOn: (count) => count === 0 || performance.now() < end,
  ebbed: (wave) => say(row(wave)),
});
const growth = growthOver(
  waves.map(({ floor }) => floor),
  connections,
);
for (const finding of growth) say(`grows: ${finding}`);
process.exit(growth.length === 0 ? 0 : 1);
