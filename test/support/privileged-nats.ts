/** A nats-server with the accounts of deploy/nats, and the commands that run against it as an operator runs them. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { connect, type NatsConnection } from 'nats';
import { type NatsServerProcess, startNatsServer } from './nats-server.ts';

export const PASSWORDS = { edge: 'edge-hush-1', provision: 'provision-hush-2', application: 'application-hush-3' };

const entry = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** `file`: a name under deploy/nats. */
export function startPrivilegedNats(file: string): Promise<NatsServerProcess> {
  return startNatsServer({ extraConfig: accountsOf(file) });
}

/** What it adds to the configuration of a server. */
export function accountsOf(file: string): string {
  const accounts = readFileSync(new URL(`../../deploy/nats/${file}`, import.meta.url), 'utf8');
  // Names that the file takes from the environment: the configuration itself may define them too.
  const variables = Object.entries(PASSWORDS).map(
    ([user, password]) => `SUPERMQ_${user.toUpperCase()}_PASSWORD: "${password}"`,
  );
  return [...variables, accounts].join('\n');
}

/** A NATS client with the user's permissions. */
export function connectAs(user: keyof typeof PASSWORDS, url: string): Promise<NatsConnection> {
  const inbox = user === 'edge' ? { inboxPrefix: '_INBOX_edge' } : {};
  return connect({ servers: url, user, pass: PASSWORDS[user], ...inbox });
}

/** Runs the supermq command to its end. */
export function runCommand(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [entry, ...args],
      { env: { PATH: process.env['PATH'], ...env }, timeout: 60_000 },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), output: stdout + stderr });
      },
    );
  });
}
