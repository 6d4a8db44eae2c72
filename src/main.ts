#!/usr/bin/env node
/** Process entry: command line, signals, exit codes; nothing else. Exit code 1: cannot start or go on, 2: wrong configuration. */
import cluster from 'node:cluster';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { makeUserLine, ScramError } from './auth/scram-credentials.ts';
import { systemClock } from './clock.ts';
import { readCommandLine } from './config/command-line.ts';
import { type Config, ConfigError } from './config/config.ts';
import { makeLog } from './log.ts';
import { type RunningServer, startServer } from './server.ts';
import { startWorkers } from './workers.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

function main(): void {
  try {
    const command = readCommandLine(process.argv.slice(2), version);
    if (command.kind === 'print') process.stdout.write(command.text);
    else if (command.kind === 'scram-user') printScramUser(command.name).catch(misused);
    else run(command.config);
  } catch (error) {
    misused(error);
  }
}

function misused(error: unknown): void {
  if (!(error instanceof ConfigError || error instanceof ScramError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(2);
}

/** The password is the first line of standard input: an argument would be seen by every process of the machine. */
async function printScramUser(name: string): Promise<void> {
  if (process.stdin.isTTY) process.stderr.write('Password: ');
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    process.stdout.write(`${makeUserLine(name, line)}\n`);
    return;
  }
  throw new ScramError('There is no password on standard input.');
}

function run(config: Config): void {
  if (config.workers > 1 && cluster.isPrimary) return runPrimary(config);
  const log = makeLog(config.log.level, config.node.id);
  const failed = (cause: Error): void => {
    log.fatal({ event: 'node.failed', err: cause }, cause.message);
    process.exit(1);
  };
  process.on('uncaughtException', failed);
  const giveUp = new AbortController();
  const starting = startServer({ config, log, failed, clock: systemClock }, giveUp.signal);
  onStopSignal(() => {
    giveUp.abort(new Error('asked to stop'));
    stop(starting).then(() => process.exit(0), failed);
  });
  starting.catch((error: Error) => {
    if (!giveUp.signal.aborted) failed(error);
  });
}

/** A start that was given up has taken itself down. */
async function stop(starting: Promise<RunningServer>): Promise<void> {
  const server = await starting.catch(() => undefined);
  await server?.stop();
}

function runPrimary(config: Config): void {
  const log = makeLog(config.log.level, config.node.id);
  const primary = startWorkers({ count: config.workers, log, stopped: () => process.exit(0) });
  onStopSignal(() => primary.stop());
}

function onStopSignal(task: () => void): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, task);
}

main();
