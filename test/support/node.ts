/** Edge nodes for tests: in the test's own process, or as processes of their own that can be killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../../src/clock.ts';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { makeLog } from '../../src/log.ts';
import { type RunningServer, startServer } from '../../src/server.ts';
import { freePort } from './ports.ts';
import { endsWithParent } from './with-parent.ts';

const entry = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const READY_MILLISECONDS = 30_000;
const REMEMBERED_CHARACTERS = 4 * 1024 * 1024;
const SHOWN_CHARACTERS = 8_192;

export interface TestNode extends RunningServer {
  readonly tcp: number;
  readonly ws: number;
  readonly http: number;
}

/** Environment variables of a node with ports of its own, on loopback. `env` wins. */
export async function environment(env: Record<string, string>): Promise<Record<string, string>> {
  return {
    SUPERMQ_MQTT_TCP_HOST: '127.0.0.1',
    SUPERMQ_MQTT_TCP_PORT: String(await freePort()),
    SUPERMQ_MQTT_WS_PORT: String(await freePort()),
    SUPERMQ_HTTP_HOST: '127.0.0.1',
    SUPERMQ_HTTP_PORT: String(await freePort()),
    ...env,
  };
}

/** A node inside this process; embedded unless `env` names NATS servers. */
export async function startNode(
  env: Record<string, string> = {},
  clock: Clock = systemClock,
  log: Logger = makeLog(process.env['TEST_LOG_LEVEL'] ?? 'silent', 'test'),
): Promise<TestNode> {
  const config: Config = loadConfig({ env: await environment(env) });
  const failed = (cause: Error): void => {
    throw cause;
  };
  const server = await startServer({ config, clock, log, failed });
  const { http = 0, tcp = 0, ws = 0 } = server.ports;
  return { ports: server.ports, counters: server.counters, stop: () => server.stop(), tcp, ws, http };
}

/** A node as users run it: `node dist/main.js`. */
export class EdgeProcess {
  readonly tcp: number;
  readonly ws: number;
  readonly http: number;
  readonly #child: ChildProcess;
  #output = '';

  private constructor(child: ChildProcess, env: Record<string, string>) {
    this.#child = child;
    this.tcp = Number(env['SUPERMQ_MQTT_TCP_PORT']);
    this.ws = Number(env['SUPERMQ_MQTT_WS_PORT']);
    this.http = Number(env['SUPERMQ_HTTP_PORT']);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => this.#remember(chunk));
      if (stream instanceof Socket) stream.unref();
    }
  }

  /** Starts a process and waits until /readyz says 200; `waitFor: 'healthz'` when it cannot be ready yet. */
  static async start(env: Record<string, string> = {}, waitFor: 'readyz' | 'healthz' = 'readyz'): Promise<EdgeProcess> {
    const complete = await environment(env);
    const [command, args] = endsWithParent(process.execPath, [entry]);
    const child = spawn(command, args, {
      env: { PATH: process.env['PATH'], ...complete },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // A test that fails before it stops its nodes still ends; they are killed with it.
    child.unref();
    const edge = new EdgeProcess(child, complete);
    const killed = (): void => void child.kill('SIGKILL');
    process.once('exit', killed);
    child.once('exit', () => process.off('exit', killed));
    await edge.waitForStatus(waitFor, 200);
    return edge;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last lines that the process wrote. */
  get output(): string {
    return this.#output.slice(-SHOWN_CHARACTERS);
  }

  /** All that the process wrote, unless it wrote very much. */
  get wholeOutput(): string {
    return this.#output;
  }

  async status(path: 'healthz' | 'readyz'): Promise<number> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.http}/${path}`);
      await response.text();
      return response.status;
    } catch {
      return 0; // not listening: the caller asks again
    }
  }

  async waitForStatus(path: 'healthz' | 'readyz', wanted: number): Promise<void> {
    const deadline = Date.now() + READY_MILLISECONDS;
    while ((await this.status(path)) !== wanted) {
      if (!this.isRunning) throw new Error(`the node ended: ${this.output}`);
      if (Date.now() > deadline) throw new Error(`/${path} is not ${wanted}: ${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Value of a metric without labels, or with the labels as written in `name`. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.http}/metrics`)).text();
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
    if (line === undefined) throw new Error(`no metric ${name}`);
    return Number(line.slice(name.length + 1));
  }

  /** Resident memory in bytes. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }

  /** The most that it has had, in bytes, since it began or since 5 was written to its clear_refs. */
  peakResidentBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }

  async kill(): Promise<void> {
    await this.#signal('SIGKILL');
  }

  /** Asks to stop and returns the exit code. */
  async stop(): Promise<number | null> {
    await this.#signal('SIGTERM');
    return this.#child.exitCode;
  }

  async #signal(signal: NodeJS.Signals): Promise<void> {
    if (!this.isRunning) return;
    const exited = once(this.#child, 'exit');
    this.#child.ref();
    this.#child.kill(signal);
    await exited;
  }

  #remember(chunk: Buffer): void {
    this.#output = (this.#output + chunk.toString()).slice(-REMEMBERED_CHARACTERS);
  }
}
