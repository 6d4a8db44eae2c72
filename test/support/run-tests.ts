/**
 * Behind `npm test`: all of test but the benches, under node's own runner, the conformance tests once for every deployment. Arguments
 * pick the files whose path contains one of them: `npm test -- codec cluster`. Exit code 1 when a test has failed. A whole run leaves
 * its results to the conformance check.
 */
import { setMaxListeners } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, relative, sep } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { run } from 'node:test';
import { spec, type TestEvent } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import compactReporter from './compact-reporter.ts';
import { type TestResult, writeResults } from './conformance/results.ts';
import { DEPLOYMENT_VARIABLE, type DeploymentKind, deploymentKinds } from './deployment.ts';
import { natsServerBinary } from './nats-binary.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Two files at once: clusters of real servers run in some of them. */
const CONCURRENCY = 2;
/** For a whole file: node 20 hands the limit to the file's process, not to each test, which may set its own. */
const FILE_TIMEOUT_MILLISECONDS = 300_000;

function testFiles(filters: readonly string[]): string[] {
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' });
  return files
    .filter((file) => file.endsWith('.test.ts') && !file.startsWith(`bench${sep}`))
    .map((file) => join(root, 'test', file))
    .filter((file) => filters.length === 0 || filters.some((filter) => relative(root, file).includes(filter)))
    .sort();
}

/** Fetched here, once, so that no test waits for it; the tests get its path. */
async function natsEnvironment(): Promise<Record<string, string>> {
  try {
    return { NATS_SERVER_BIN: await natsServerBinary() };
  } catch (cause) {
    // Not the end: unit tests do without, and those that need one fail with the same sentence.
    process.stderr.write(`${cause instanceof Error ? cause.message : String(cause)}\n`);
    return {};
  }
}

/** One run of node's runner: the files, and what the conformance tests among them run against. */
interface Phase {
  readonly files: readonly string[];
  readonly deployment: DeploymentKind;
}

/** Everything once, then the files that start a deployment on the other ones. */
function phases(files: readonly string[]): Phase[] {
  const portable = files.filter((file) => readFileSync(file, 'utf8').includes('support/deployment.ts'));
  const [first = 'embedded', ...others] = deploymentKinds;
  const further = others.map((deployment) => ({ files: portable, deployment }));
  return [{ files, deployment: first }, ...further].filter(({ files: { length } }) => length > 0);
}

const filters = process.argv.slice(2);
const files = testFiles(filters);
if (files.length === 0) {
  process.stderr.write('No test file matches\n');
  process.exit(1);
}
Object.assign(process.env, await natsEnvironment());

const ending = new AbortController();
// Each file listens to it.
setMaxListeners(files.length + 1, ending.signal);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    process.exitCode = 128 + constants.signals[signal];
    ending.abort();
  });
}

const results: TestResult[] = [];

function note({ type, data }: TestEvent, { deployment }: Phase): void {
  if (type !== 'test:pass' && type !== 'test:fail') return;
  if (type === 'test:fail' && data.todo === undefined) process.exitCode ??= 1;
  if (data.details.type === 'suite' || data.file === undefined || data.name === data.file) return;
  const file = relative(join(root, 'test'), data.file);
  const setting = file.startsWith(`conformance${sep}`) ? deployment : 'own';
  const outcome = type === 'test:fail' ? 'failed' : data.skip === undefined ? 'passed' : 'skipped';
  results.push({ file, title: data.name, setting, outcome });
}

/** The events of all phases as those of one run, with the totals of all at the end. */
async function* runPhases(): AsyncGenerator<TestEvent, void> {
  const totals = new Map<string, number>();
  for (const phase of phases(files)) {
    if (ending.signal.aborted) break;
    process.env[DEPLOYMENT_VARIABLE] = phase.deployment;
    if (phase.deployment !== 'embedded') yield heading(`on ${phase.deployment}:`);
    // In this process, not by `node --test`: node 20 loads a `--test-reporter` before tsx, so it could not be TypeScript.
    const options = { concurrency: CONCURRENCY, timeout: FILE_TIMEOUT_MILLISECONDS, signal: ending.signal };
    const events: AsyncIterable<TestEvent> = run({ ...options, files: [...phase.files] });
    for await (const event of events) {
      note(event, phase);
      if (event.type !== 'test:diagnostic' || event.data.nesting !== 0) yield event;
      else addTotal(totals, event.data.message);
    }
  }
  for (const [name, total] of totals) yield heading(`${name} ${Math.round(total)}`);
}

function addTotal(totals: Map<string, number>, message: string): void {
  const [, name = '', count = ''] = /^(\w+) ([\d.]+)$/.exec(message) ?? [];
  if (name !== '') totals.set(name, (totals.get(name) ?? 0) + Number(count));
}

function heading(message: string): TestEvent {
  return { type: 'test:diagnostic', data: { message, nesting: 0 } } as TestEvent; // file and line only where a test has one
}

const events = Readable.from(runPhases());
const reporter = process.stdout.isTTY ? new spec() : compactReporter;
await pipeline(events, reporter as Parameters<typeof pipeline>[1], process.stdout, { end: false });
if (filters.length === 0 && !ending.signal.aborted) writeResults(results);
