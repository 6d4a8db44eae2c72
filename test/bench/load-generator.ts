/** mqttload, the load generator of the benches: built from test/bench/mqttload when that is newer than the program; $MQTTLOAD names another one. */
import { execFile } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** mqttload ends by itself after a minute; what is left of a hang is ended here. */
const LONGEST_MILLISECONDS = 150_000;

const source = fileURLToPath(new URL('mqttload/mqttload.c', import.meta.url));
/** Where the Makefile beside the source puts it too; git ignores it. */
const program = fileURLToPath(new URL('mqttload/mqttload', import.meta.url));

/** The fields of mqttload's result that the benches read; which ones there are depends on the scenario. */
export interface LoadResult {
  readonly error?: string;
  readonly timed_out?: boolean;
  readonly delivered?: number;
  readonly published?: number;
  readonly secs?: number;
  readonly deliver_rate?: number;
  readonly lost?: number;
  readonly drain_s?: number;
  readonly lat_us?: Readonly<Record<string, number>>;
  readonly broker_cpu_s?: number;
  readonly gen_busy?: number;
  /** Wanted and reached. */
  readonly conns?: number;
  readonly connected?: number;
  readonly connects_per_s?: number;
  readonly connect_cpu_s?: number;
  readonly bytes_per_conn?: number;
}

/** Path of the program; builds it first where needed. */
export async function loadGenerator(): Promise<string> {
  const given = process.env['MQTTLOAD'];
  if (given !== undefined && given !== '') return given;
  if (isCurrent()) return program;
  const compiler = process.env['CC'] ?? 'cc';
  try {
    await promisify(execFile)(compiler, ['-O2', '-g', '-std=gnu11', '-o', program, source, '-lm']);
  } catch (cause) {
    throw new Error(`${compiler} cannot build mqttload; MQTTLOAD may name a program that is built`, { cause });
  }
  return program;
}

function isCurrent(): boolean {
  return existsSync(program) && statSync(program).mtimeMs >= statSync(source).mtimeMs;
}

/** Runs it on `core` and reads its line; a run that cannot be set up, or hangs, is a result with `error`. */
export async function runLoad(path: string, args: readonly string[], core?: number): Promise<LoadResult> {
  const [command, all] = core === undefined ? [path, args] : ['taskset', ['-c', String(core), path, ...args]];
  const run = promisify(execFile)(command, all, { timeout: LONGEST_MILLISECONDS, killSignal: 'SIGKILL' });
  // Exit code 2: it could not be set up; the line says why.
  const { stdout, killed } = await run.then(
    (ended) => ({ stdout: ended.stdout, killed: false }),
    (failure: { stdout: string; killed?: boolean }) => ({ stdout: failure.stdout, killed: failure.killed === true }),
  );
  if (killed) return { error: `no end within ${LONGEST_MILLISECONDS / 1000} s` };
  return stdout.startsWith('{') ? (JSON.parse(stdout) as LoadResult) : { error: 'mqttload printed no result' };
}
