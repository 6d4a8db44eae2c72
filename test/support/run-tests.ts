/**
 * Behind `npm test`: all of test but the benches, under node's own runner. Arguments pick the files whose path contains one of
 * them: `npm test -- codec cluster`. Exit code 1 when a test has failed.
 */
import { setMaxListeners } from 'node:events';
import { readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join, relative, sep } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import compactReporter from './compact-reporter.ts';
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

const files = testFiles(process.argv.slice(2));
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
// In this process, not by `node --test`: node 20 loads a `--test-reporter` before tsx, so it could not be TypeScript.
const events = run({ files, concurrency: CONCURRENCY, timeout: FILE_TIMEOUT_MILLISECONDS, signal: ending.signal });
events.on('test:fail', ({ todo }) => {
  if (todo === undefined) process.exitCode ??= 1;
});
if (process.stdout.isTTY) events.compose(new spec()).pipe(process.stdout);
else events.compose(compactReporter).pipe(process.stdout);
