/**
 * One of the workers as its primary sees it: the process that is there now, what it has told, and questions to it with a bound. A process that
 * ends is replaced by the supervisor; the slot stays.
 */
import cluster, { type Worker } from 'node:cluster';
import type { MetricSnapshot } from '../admin/worker-metrics.ts';
import type { Config } from '../config/config.ts';
import { closeUnansweredOf } from './handed-over.ts';
import type { Answer, Assignment, ToPrimary, ToWorker } from './messages.ts';

/** Longest wait for a worker: who asks the primary waits for as long. */
const ANSWER_MILLISECONDS = 1_000;

/** `down`: no process; `starting` and `stopping`: a process that gets no connections; `serving`: one that does. */
export type SlotState = 'down' | 'starting' | 'serving' | 'stopping';

/** How a process ended. */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly livedMilliseconds: number;
}

export interface SlotEvents {
  ended(end: WorkerEnd): void;
  told(metrics: readonly MetricSnapshot[]): void;
  /** A question has found no answer in time. */
  silent(): void;
}

export class WorkerSlot {
  readonly index: number;
  /** Whether any process of this slot has served yet. */
  hasServed = false;
  /** Rounds of the watchdog without a word of the process. */
  silentRounds = 0;
  #state: SlotState = 'down';
  #process: Worker | undefined;
  #assignment: Assignment | undefined;
  /** Has said hello, and so can be asked. */
  #isListening = false;
  #serial = 0;
  #lives = 0;
  readonly #waiting = new Map<number, (answer: Answer | undefined) => void>();
  readonly #events: SlotEvents;

  constructor(index: number, events: SlotEvents) {
    this.index = index;
    this.#events = events;
  }

  get state(): SlotState {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.#process?.process.pid;
  }

  /** Starts a process; there must be none. */
  start(config: Config): void {
    const startedAt = performance.now();
    const forked = cluster.fork();
    this.#process = forked;
    this.#state = 'starting';
    this.silentRounds = 0;
    closeUnansweredOf(forked);
    forked.on('message', (message: ToPrimary) => this.#take(forked, message));
    // A channel that breaks says so by the end of the process.
    forked.on('error', () => {});
    forked.once('exit', (code: number | null, signal: NodeJS.Signals | null) => {
      this.#forget();
      this.#events.ended({ code, signal, livedMilliseconds: performance.now() - startedAt });
    });
    this.#assignment = { kind: 'assignment', index: this.index, config: this.#configOf(config) };
    this.#isListening = false;
    this.#lives++;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.process.kill(signal);
  }

  /** The worker's answer; undefined when there is none in time. */
  ask(wantsMetrics: boolean): Promise<Answer | undefined> {
    if (!this.#isListening) return Promise.resolve(undefined);
    const serial = ++this.#serial;
    this.#send({ kind: 'question', serial, wantsMetrics });
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#events.silent();
        settle(undefined);
      }, ANSWER_MILLISECONDS);
      const settle = (answer: Answer | undefined): void => {
        clearTimeout(timer);
        this.#waiting.delete(serial);
        resolve(answer);
      };
      this.#waiting.set(serial, settle);
    });
  }

  /**
   * A node of its own, under a name of its own; health and metrics are the primary's. A later life has another name, so that it need not
   * wait for the lease of a process that is known to be dead.
   */
  #configOf(config: Config): Config {
    const name = `${config.node.id}-${this.index}`;
    const id = this.#lives === 0 ? name : `${name}.${this.#lives}`;
    return { ...config, node: { id }, http: { ...config.http, port: 0 } };
  }

  #take(from: Worker, message: ToPrimary): void {
    if (from !== this.#process) return;
    this.silentRounds = 0;
    if (message.kind === 'hello') this.#greet();
    else if (message.kind === 'answer') {
      if (message.metrics !== undefined) this.#events.told(message.metrics);
      this.#waiting.get(message.serial)?.(message);
    } else {
      this.#state = message.kind;
      this.hasServed ||= message.kind === 'serving';
    }
  }

  #greet(): void {
    this.#isListening = true;
    if (this.#assignment !== undefined) this.#send(this.#assignment);
  }

  #forget(): void {
    this.#process = undefined;
    this.#state = 'down';
    this.#isListening = false;
    for (const settle of [...this.#waiting.values()]) settle(undefined);
  }

  #send(message: ToWorker): void {
    const { process: child } = this.#process ?? {};
    if (child?.connected === true) child.send(message, undefined, undefined, () => {});
  }
}
