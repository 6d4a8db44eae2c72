/** A process that stays on one core and ends with this one: what is measured on core 0, all else on core 1. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { poll } from '../support/poll.ts';

export const BROKER_CORE = 0;
export const OTHER_CORE = 1;
const START_MILLISECONDS = 15_000;

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

export class PinnedProcess {
  readonly #child: ChildProcess;

  constructor(core: number, command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    // `taskset` becomes the program, so the pid is the program's.
    this.#child = spawn('taskset', ['-c', String(core), command, ...args], {
      env: { ...process.env, ...env },
      stdio: 'ignore',
    });
    running.add(this.#child);
    // Seen as a port that nobody listens on.
    this.#child.once('error', () => running.delete(this.#child));
    this.#child.once('exit', () => running.delete(this.#child));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async kill(): Promise<void> {
    if (!running.has(this.#child)) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

/** Resolves once something listens on the port. */
export function listening(port: number): Promise<void> {
  return poll(() => isListening(port), { what: `a listener on port ${port}`, timeoutMs: START_MILLISECONDS });
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
