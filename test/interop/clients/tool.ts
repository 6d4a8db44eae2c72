/** A command-line client as a process: what it writes, waited for, and its end. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { endsWithParent } from '../../support/with-parent.ts';

const PATIENCE_MILLISECONDS = 60_000;

/** Whether a program can be started. */
export function isInstalled(program: string): boolean {
  return spawnSync(program, ['--help'], { timeout: PATIENCE_MILLISECONDS, stdio: 'ignore' }).error === undefined;
}

export class Tool {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  /** `news`: there is more output, or all of it has come. */
  readonly #events = new EventEmitter();
  #hasAllOutput = false;
  /** What it wrote to standard error and, unless `lines` takes it, to standard output. */
  #output = '';

  /** `line` gets standard output line by line. */
  constructor(command: string, args: readonly string[], line?: (text: string) => void) {
    const [program, all] = endsWithParent(command, args);
    const child = spawn(program, all, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    this.#closed = once(child, 'close');
    child.once('close', () => {
      this.#hasAllOutput = true;
      this.#events.emit('news');
    });
    // A tool that has ended takes no input; its exit code tells.
    child.stdin.on('error', () => {});
    child.stderr.on('data', (chunk) => this.#remember(chunk));
    child.stdout.on('data', (chunk) => this.#remember(chunk));
    if (line !== undefined) byLines(child, line);
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Resolves once the output matches. */
  async waitFor(pattern: RegExp): Promise<RegExpExecArray> {
    const signal = AbortSignal.timeout(PATIENCE_MILLISECONDS);
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match !== null) return match;
      if (this.#hasAllOutput) throw new Error(`${this.#child.spawnargs.join(' ')} has ended: ${this.#output}`);
      await once(this.#events, 'news', { signal });
    }
  }

  /** Gives it the rest of its input and waits for its end; rejects unless the exit code is 0. */
  async finish(input = ''): Promise<void> {
    this.#child.stdin?.end(input);
    await this.#closed;
    if (this.#child.exitCode !== 0) throw new Error(`${this.#child.spawnargs.join(' ')} failed: ${this.#output}`);
  }

  /** Sends a signal and waits for the end. */
  async signal(name: NodeJS.Signals): Promise<void> {
    if (!this.#hasEnded) this.#child.kill(name);
    await this.#closed;
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #remember(chunk: Buffer): void {
    this.#output = (this.#output + chunk.toString()).slice(-16_384);
    this.#events.emit('news');
  }
}

function byLines(child: ChildProcess, line: (text: string) => void): void {
  let rest = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) line(text);
  });
}
