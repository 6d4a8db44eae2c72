/**
 * Behind `npm test`: all of test but the benches, under node's own runner, the conformance tests once for every deployment. Arguments
 * pick the files whose path contains one of them: `npm test -- codec cluster`. Exit code 1 when a test has failed. A whole run leaves
 * its results to the conformance check.
 *
 * Clusters of real servers elect, die and come back on whatever machine this is, while other files run: when no more than a few files
 * have failed they get a second look, one at a time. What fails again has failed; what does not is shown and counted as flaky.
 */
import { setMaxListeners } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, join, relative, sep } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { run } from 'node:test';
import { spec, type TestEvent } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import compactReporter from './compact-reporter.ts';
import { type Setting, type TestResult, writeResults } from './conformance/results.ts';
import { DEPLOYMENT_VARIABLE, type DeploymentKind, deploymentKinds } from './deployment.ts';
import { natsServerBinary } from './nats-binary.ts';
import { TestTally } from './test-tally.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Two files at once: clusters of real servers run in some of them. */
const CONCURRENCY = 2;
/** For a whole file: node 20 hands the limit to the file's process, not to each test, which may set its own. */
const FILE_TIMEOUT_MILLISECONDS = 300_000;
/** More than that is no accident. */
const FILES_SEEN_TWICE = 3;

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

const flaky: string[] = [];
const results: TestResult[] = [];

function settingOf(file: string, deployment: DeploymentKind): Setting {
  return file.startsWith(`conformance${sep}`) ? deployment : 'own';
}

/** The events of one run of node's runner, each noted in the tally; its totals are left out. */
async function* runOnce(
  { files, deployment }: Phase,
  concurrency: number,
  tally: TestTally,
): AsyncGenerator<TestEvent> {
  process.env[DEPLOYMENT_VARIABLE] = deployment;
  // In this process, not by `node --test`: node 20 loads a `--test-reporter` before tsx, so it could not be TypeScript.
  const options = { concurrency, timeout: FILE_TIMEOUT_MILLISECONDS, signal: ending.signal };
  const events: AsyncIterable<TestEvent> = run({ ...options, files: [...files] });
  for await (const event of events) {
    if (event.type === 'test:pass' || event.type === 'test:fail') {
      const file = relative(join(root, 'test'), event.data.file ?? event.data.name);
      tally.note(event, file, settingOf(file, deployment));
    }
    if (event.type !== 'test:diagnostic' || event.data.nesting !== 0) yield event;
  }
}

async function* runPhase(phase: Phase, tally: TestTally): AsyncGenerator<TestEvent> {
  yield* runOnce(phase, CONCURRENCY, tally);
  const failures = tally.failures();
  const again = new Set([...failures.keys()].flatMap((file) => filesThatRun(file, phase)));
  if (again.size === 0 || again.size > FILES_SEEN_TWICE || ending.signal.aborted) return;
  yield heading(`a second look at ${[...again].map((file) => relative(root, file)).join(', ')}:`);
  const second = new TestTally();
  yield* runOnce({ ...phase, files: [...again] }, 1, second);
  for (const [file, titles] of failures)
    if (tally.passesNow(file, second)) flaky.push(...titles.map((title) => `${file}: ${title}`));
}

/** A test has the file in which it is written: it may be one that test files share, and then all of those run it. */
function filesThatRun(file: string, { files }: Phase): readonly string[] {
  const path = join(root, 'test', file);
  if (files.includes(path)) return [path];
  return files.filter((candidate) => readFileSync(candidate, 'utf8').includes(`/${basename(file)}'`));
}

/** The events of all phases as those of one run, with the totals of all at the end. */
async function* runPhases(): AsyncGenerator<TestEvent> {
  const start = performance.now();
  const totals = new Map<string, number>();
  for (const phase of phases(files)) {
    if (ending.signal.aborted) break;
    if (phase.deployment !== 'embedded') yield heading(`on ${phase.deployment}:`);
    const tally = new TestTally();
    yield* runPhase(phase, tally);
    if (tally.failures().size > 0) process.exitCode ??= 1;
    results.push(...tally.results());
    for (const [name, count] of tally.totals()) totals.set(name, (totals.get(name) ?? 0) + count);
  }
  for (const title of flaky) yield heading(`flaky ${title}`);
  for (const [name, total] of totals) yield heading(`${name} ${total}`);
  yield heading(`duration_ms ${Math.round(performance.now() - start)}`);
}

function heading(message: string): TestEvent {
  return { type: 'test:diagnostic', data: { message, nesting: 0 } } as TestEvent; // file and line only where a test has one
}

const events = Readable.from(runPhases());
const reporter = process.stdout.isTTY ? new spec() : compactReporter;
await pipeline(events, reporter as Parameters<typeof pipeline>[1], process.stdout, { end: false });
if (filters.length === 0 && !ending.signal.aborted) writeResults(results);
