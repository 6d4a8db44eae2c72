/**
 * One nats-server process of a test: killed, frozen and brought back with what it had stored. None outlives the test
 * process, however that ends. Tests start theirs with nats-server.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freeze } from './freeze.ts';
import { poll } from './poll.ts';
import { endsWithParent } from './with-parent.ts';

const READY_MILLISECONDS = 20_000;
const STOP_MILLISECONDS = 10_000;
/** How much of a server's log an error carries. */
const LOG_TAIL_CHARACTERS = 2_000;
/** Linux reports CPU time in hundredths of a second, whatever the kernel's own tick is. */
const CLOCK_TICKS_PER_SECOND = 100;
/** What the server logs when it listens. */
const READY_LINE = 'Server is ready';

/** How a server is started, again and again in the same place. */
export interface NatsLaunch {
  readonly binary: string;
  readonly port: number;
  readonly monitorPort: number;
  /** Holds `nats.conf` and the log; removed by {@link NatsServerProcess.stop}. */
  readonly folder: string;
}

/** Servers that have not been stopped; what is left here is killed when the process ends. */
const unstopped = new Set<NatsServerProcess>();
process.once('exit', killUnstopped);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    killUnstopped();
    process.kill(process.pid, signal);
  });
}

function killUnstopped(): void {
  for (const server of unstopped) server.abandon();
}

/** One nats-server: stays the same object through {@link kill} and {@link restart}. */
export class NatsServerProcess {
  readonly port: number;
  /** `nats://127.0.0.1:<port>`. */
  readonly url: string;
  /** HTTP monitoring: `/varz`, `/connz`, `/jsz` and so on. */
  readonly monitorUrl: string;
  readonly #launch: NatsLaunch;
  #child: ChildProcess | undefined;

  constructor(launch: NatsLaunch) {
    this.#launch = launch;
    this.port = launch.port;
    this.url = `nats://127.0.0.1:${launch.port}`;
    this.monitorUrl = `http://127.0.0.1:${launch.monitorPort}`;
  }

  /** Process id of the running server; throws when it is not running. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`nats-server on port ${this.port} is not running`);
    return pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Ends the process and waits for its end; what it stored stays for {@link restart}. `SIGTERM` is the orderly way. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.ref();
    const exited = once(child, 'exit');
    child.kill(signal);
    // A frozen process does not act on SIGTERM before it goes on.
    child.kill('SIGCONT');
    const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_MILLISECONDS);
    await exited;
    clearTimeout(impatience);
  }

  /** The end: orderly stop, then the temporary folder goes. A stopped server cannot be restarted. */
  async stop(): Promise<void> {
    await this.kill('SIGTERM');
    this.#removeFolder();
  }

  /** Starts the server again on its port and with its store; one that still runs is stopped in order first. */
  async restart(): Promise<void> {
    await this.kill('SIGTERM');
    await this.start();
  }

  /** Freezes the process: its sockets stay open and silent. */
  pause(): void {
    freeze(this.pid);
  }

  /** Lets a frozen process go on. */
  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /** CPU time the running process has used so far, user and system. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    // The second field is a name in parentheses; utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
  }

  /** Everything the server has logged, over restarts. */
  log(): string {
    const file = this.#logFile;
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Starts the process and resolves once it greets clients; {@link restart} is what tests call. */
  async start(): Promise<void> {
    if (!existsSync(this.#launch.folder)) throw new Error(`nats-server on port ${this.port} was stopped for good`);
    const logged = this.log().length;
    const child = this.#spawn();
    const giveUp = (): void => {
      if (this.#child !== child)
        throw new Error(`nats-server did not start:\n${this.log().slice(-LOG_TAIL_CHARACTERS)}`);
    };
    // Its own word first: what answers on the port might be another process that was faster.
    const isReady = async (): Promise<boolean> => this.log().includes(READY_LINE, logged) && (await greets(this.port));
    await poll(isReady, { what: `nats-server on port ${this.port}`, timeoutMs: READY_MILLISECONDS, giveUp });
    // A test that forgets to stop its server ends all the same, and takes the server with it.
    child.unref();
  }

  /** Kills at once, without waiting: for the end of the test process. */
  abandon(): void {
    this.#child?.kill('SIGKILL');
    this.#removeFolder();
  }

  #spawn(): ChildProcess {
    const { binary, folder } = this.#launch;
    const serverArgs = ['-c', join(folder, 'nats.conf'), '-l', this.#logFile];
    const [command, args] = endsWithParent(binary, serverArgs);
    // What is said before the log is open, a mistake in the configuration say, goes to the same file.
    const output = openSync(this.#logFile, 'a');
    const child = spawn(command, args, { stdio: ['ignore', output, output] });
    closeSync(output);
    const ended = (): void => {
      if (this.#child === child) this.#child = undefined;
    };
    child.once('exit', ended);
    child.once('error', (cause) => {
      appendFileSync(this.#logFile, `${cause.message}\n`);
      ended();
    });
    this.#child = child;
    unstopped.add(this);
    return child;
  }

  get #logFile(): string {
    return join(this.#launch.folder, 'nats.log');
  }

  #removeFolder(): void {
    unstopped.delete(this);
    rmSync(this.#launch.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Whether something on `port` sends the INFO line with which a nats-server opens every connection. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const done = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => done(false));
    socket.once('data', (chunk) => done(chunk.toString('latin1').startsWith('INFO ')));
    socket.once('error', () => done(false));
    socket.once('close', () => done(false));
  });
}
