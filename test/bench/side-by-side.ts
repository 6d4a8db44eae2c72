/**
 * Side by side: supermq on NATS and every other server that is installed, in turn within each round; medians and spreads as Markdown tables,
 * printed and written into docs/benchmarks.md. Broker on core 0, load generator and the nats-server behind supermq on core 1.
 *
 *   npm run bench -- [--rounds 3] [--print] [scenario...]        --print: leave the document as it is
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { circumstances } from './circumstances.ts';
import { hasSection, replaceSection } from './document.ts';
import { loadGenerator } from './load-generator.ts';
import { measure } from './measure.ts';
import { installedPeers, type Peer, type RunningPeer } from './peers.ts';
import { type Scenario, scenarios } from './scenarios.ts';
import { type Outcome, table } from './table.ts';

const document = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '3' }, print: { type: 'boolean', default: false } },
});
const rounds = Number(values.rounds);

/** Servers that run: started when they are needed, and anew after a failure. */
const running = new Map<Peer, RunningPeer>();

async function runningPeer(peer: Peer): Promise<RunningPeer> {
  const started = running.get(peer) ?? (await peer.start());
  running.set(peer, started);
  return started;
}

async function stop(peer: Peer): Promise<void> {
  const started = running.get(peer);
  running.delete(peer);
  await started?.stop();
}

async function oneRound(generator: string, peer: Peer, { args, isFresh = false }: Scenario): Promise<Outcome> {
  if (isFresh) await stop(peer);
  const outcome = await runningPeer(peer).then(
    (started) => measure(generator, started, args),
    (cause: Error) => ({ failed: `it did not start, ${cause.message}` }),
  );
  // What hung or failed must not disturb the next scenario.
  if ('failed' in outcome) await stop(peer);
  return outcome;
}

async function section(generator: string, peers: readonly Peer[], name: string, scenario: Scenario): Promise<string> {
  const rows = peers.map((peer) => ({ peer, rounds: [] as Outcome[] }));
  for (let round = 1; round <= rounds; round++) {
    for (const row of rows) {
      process.stderr.write(`${name}, round ${round} of ${rounds}: ${row.peer.name}\n`);
      row.rounds.push(await oneRound(generator, row.peer, scenario));
    }
  }
  const named = rows.map((row) => ({ peer: row.peer.name, rounds: row.rounds }));
  const command = `npm run bench -- --rounds ${rounds} ${name}`;
  const below = circumstances({ rounds, versions: peers, command });
  return `\`mqttload ${scenario.args.join(' ')}\`\n\n${table(name, named)}\n\n${below}`;
}

function chosen(): [string, Scenario][] {
  const names = positionals.length > 0 ? positionals : Object.keys(scenarios);
  return names.map((name) => {
    const scenario = scenarios[name];
    if (scenario === undefined) throw new Error(`no scenario ${name}; there are ${Object.keys(scenarios).join(', ')}`);
    if (!values.print && !hasSection(readFileSync(document, 'utf8'), name))
      throw new Error(`docs/benchmarks.md has no place for ${name}`);
    return [name, scenario];
  });
}

async function main(): Promise<void> {
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds must be a whole number from 1');
  const wanted = chosen();
  const [generator, peers] = [await loadGenerator(), await installedPeers()];
  for (const [name, scenario] of wanted) {
    const text = await section(generator, peers, name, scenario);
    process.stdout.write(`\n${text}\n`);
    // After each scenario: what is measured is kept whatever happens to the rest.
    if (!values.print) writeFileSync(document, replaceSection(readFileSync(document, 'utf8'), name, text));
  }
  for (const peer of peers) await stop(peer);
}

await main();
process.exit(0);
