#!/usr/bin/env node
/** Process entry: command line, signals, exit codes; nothing else. Exit code 1: cannot start or go on, 2: wrong configuration. */
import cluster from 'node:cluster';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Logger } from 'pino';
import type { NodeViews } from './admin/http.ts';
import { makePasswordLine, PasswordError } from './auth/password-hash.ts';
import { makeSecretLine, makeUserLine, ScramError } from './auth/scram-credentials.ts';
import { systemClock } from './clock.ts';
import { readCommandLine } from './config/command-line.ts';
import { type Config, ConfigError } from './config/config.ts';
import { makeLog } from './log.ts';
import { provisionOnce } from './nats/provision-once.ts';
import { storageSettings } from './node/storage-settings.ts';
import { type RunningServer, startServer } from './server.ts';
import { freeUnixPath } from './transport/unix.ts';
import { Supervisor } from './workers/supervisor.ts';
import { linkToPrimary, type PrimaryLink } from './workers/worker.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

function main(): void {
  // The primary has read the configuration for its workers.
  if (cluster.isWorker) return runWorker();
  try {
    const command = readCommandLine(process.argv.slice(2), version);
    if (command.kind === 'print') process.stdout.write(command.text);
    else if (command.kind === 'provision') provision(command.config);
    else if (command.kind === 'scram-user')
      printUser((password) => makeUserLine(command.name, password)).catch(misused);
    else if (command.kind === 'scram-secret') process.stdout.write(`${makeSecretLine()}\n`);
    else if (command.kind === 'password-user')
      printUser((password) => makePasswordLine(command.name, password, command.groups)).catch(misused);
    else run(command.config);
  } catch (error) {
    misused(error);
  }
}

function misused(error: unknown): void {
  if (!(error instanceof ConfigError || error instanceof ScramError || error instanceof PasswordError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(2);
}

/** The password is the first line of standard input: an argument would be seen by every process of the machine. */
async function printUser(lineOf: (password: string) => string): Promise<void> {
  if (process.stdin.isTTY) process.stderr.write('Password: ');
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    process.stdout.write(`${lineOf(line)}\n`);
    return;
  }
  throw new ConfigError(['There is no password on standard input.']);
}

/** The streams alone, as a user of NATS who may make them. */
function provision(config: Config): void {
  const log = makeLog(config.log.level, config.node.id);
  const { node, nats: settings } = config;
  provisionOnce({ settings, storage: storageSettings(settings), name: node.id, clock: systemClock, log }).then(
    () => log.info({ event: 'nats.provisioned' }, 'All streams are there'),
    failure(log),
  );
}

function run(config: Config): void {
  const log = makeLog(config.log.level, config.node.id);
  if (config.workers > 1) runPrimary(config, log);
  else serve(config, log);
}

function runWorker(): void {
  linkToPrimary(({ config, index }, link) => {
    serve(config, makeLog(config.log.level, config.node.id).child({ worker: index }), link);
  });
}

/** A node in this process, for as long as it lives; `link`: to the primary that wants it. */
function serve(config: Config, log: Logger, link?: PrimaryLink): void {
  const failed = failure(log);
  const giveUp = new AbortController();
  const shown = (views: NodeViews): void => link?.show(views);
  const starting = startServer({ config, log, failed, clock: systemClock, shown }, giveUp.signal);
  const end = (): void => {
    link?.stopping();
    giveUp.abort(new Error('asked to stop'));
    stop(starting).then(() => process.exit(0), failed);
  };
  onStopSignal(end);
  if (link !== undefined) link.gone = end;
  starting.then(
    () => link?.serving(),
    (error: Error) => {
      if (!giveUp.signal.aborted) failed(error);
    },
  );
}

/** A start that was given up has taken itself down. */
async function stop(starting: Promise<RunningServer>): Promise<void> {
  const server = await starting.catch(() => undefined);
  await server?.stop();
}

/** Several nodes in processes of their own. */
function runPrimary(config: Config, log: Logger): void {
  const supervisor = new Supervisor({ config, log, ended: (code) => process.exit(code) });
  onStopSignal(() => supervisor.stop());
  // Once, before there are workers: each of them would take the socket of the others for somebody else's.
  freeUnixPath(config.mqtt.unix.path)
    .then(() => supervisor.start())
    .catch(failure(log));
}

/** What this process does about an error that nobody can do anything about. */
function failure(log: Logger): (cause: Error) => void {
  const failed = (cause: Error): void => {
    log.fatal({ event: 'node.failed', err: cause }, cause.message);
    process.exit(1);
  };
  process.on('uncaughtException', failed);
  return failed;
}

function onStopSignal(task: () => void): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, task);
}

main();
