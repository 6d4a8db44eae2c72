/**
 * The primary of several workers: starts them, starts those again that end, ends those that hang, stops them all, and answers for them on
 * one HTTP port. It reads no MQTT: node hands each new connection to the next worker.
 */
import type { Logger } from 'pino';
import { type AdminServer, type Readiness, startAdmin } from '../admin/http.ts';
import { WorkerMetrics } from '../admin/worker-metrics.ts';
import type { Config } from '../config/config.ts';
import { limitsOfWorkers } from '../config/limits-of-workers.ts';
import { judgeReadiness } from './readiness.ts';
import { restartDelay } from './restart-delay.ts';
import { type WorkerEnd, WorkerSlot } from './worker-slot.ts';

/** The watchdog asks this often, and ends a worker that has not said a word for this many rounds: half a minute. */
const ROUND_MILLISECONDS = 5_000;
const SILENT_ROUNDS = 6;
/** What a worker may need to stop beyond `drainSeconds` before it is killed. */
const STOP_GRACE_MILLISECONDS = 10_000;

export interface SupervisorOptions {
  readonly config: Config;
  readonly log: Logger;
  /** All workers have ended, as asked (0) or because one could not start (its exit code). */
  readonly ended: (code: number) => void;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #slots: readonly WorkerSlot[];
  readonly #metrics = new WorkerMetrics();
  readonly #delays = new Map<WorkerSlot, number>();
  readonly #restartTimers = new Set<NodeJS.Timeout>();
  readonly #counts = { restarts: 0, silences: 0 };
  #admin: AdminServer | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #killTimer: NodeJS.Timeout | undefined;
  #isStopping = false;
  #exitCode = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.config.workers }, (_, index) => this.#makeSlot(index));
  }

  /** Rejects when the HTTP port cannot be bound. */
  async start(): Promise<void> {
    const { host, port } = this.#options.config.http;
    if (port !== 0) {
      this.#admin = await startAdmin({
        host,
        port,
        ailment: () => (this.#slots.some(isRunning) ? undefined : 'no worker runs'),
        readiness: () => this.#readiness(),
        metrics: async () => this.#metrics.sum(await this.#askForMetrics(), this.#figures()),
      });
    }
    if (this.#isStopping) return this.#endIfDone();
    this.#tellLimits();
    for (const slot of this.#slots) this.#start(slot);
    this.#watchdog = setInterval(() => this.#watch(), ROUND_MILLISECONDS);
  }

  /** Asks every worker to stop; one that does not is killed. */
  stop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    clearInterval(this.#watchdog);
    for (const timer of this.#restartTimers) clearTimeout(timer);
    for (const slot of this.#slots) slot.signal('SIGTERM');
    const { config, log } = this.#options;
    this.#killTimer = setTimeout(
      () => {
        const left = this.#slots.filter(isRunning);
        log.error(
          { event: 'worker.stopCut', workers: left.map(({ index }) => index) },
          'Killing workers that did not stop',
        );
        this.#exitCode ||= 1;
        for (const slot of left) slot.signal('SIGKILL');
      },
      config.drainSeconds * 1000 + STOP_GRACE_MILLISECONDS,
    );
    this.#endIfDone();
  }

  #tellLimits(): void {
    const { config, log } = this.#options;
    log.info(
      { event: 'workers.limited', workers: config.workers, together: limitsOfWorkers(config) },
      'Each worker has the limits of the configuration for itself: what all together allow',
    );
  }

  #makeSlot(index: number): WorkerSlot {
    const slot: WorkerSlot = new WorkerSlot(index, {
      ended: (end) => this.#ended(slot, end),
      told: (metrics) => this.#metrics.told(index, metrics),
      silent: () => this.#counts.silences++,
    });
    return slot;
  }

  #start(slot: WorkerSlot): void {
    const { config, log } = this.#options;
    slot.start(config);
    log.info({ event: 'worker.started', worker: slot.index, pid: slot.pid }, 'Started a worker');
  }

  #ended(slot: WorkerSlot, end: WorkerEnd): void {
    this.#metrics.ended(slot.index);
    const { code, signal } = end;
    if (this.#isStopping) {
      // Of those that were asked to stop: a fault while stopping is told as that of a single node.
      this.#exitCode ||= code ?? 0;
      return this.#endIfDone();
    }
    const { log } = this.#options;
    const fields = { worker: slot.index, code, signal };
    if (!slot.hasServed && code !== null && code !== 0) {
      log.fatal({ event: 'worker.startFailed', ...fields }, `Worker ${slot.index} could not start: ending`);
      this.#exitCode = code;
      return this.stop();
    }
    const delay = restartDelay(this.#delays.get(slot) ?? 0, end.livedMilliseconds);
    this.#delays.set(slot, delay);
    log.error({ event: 'worker.ended', ...fields, delay }, `A worker ended; starting another one in ${delay / 1000} s`);
    this.#restartLater(slot, delay);
  }

  #restartLater(slot: WorkerSlot, delay: number): void {
    const timer = setTimeout(() => {
      this.#restartTimers.delete(timer);
      this.#counts.restarts++;
      this.#start(slot);
    }, delay);
    this.#restartTimers.add(timer);
  }

  /** /healthz is the primary's: nobody else would find a worker that hangs. */
  #watch(): void {
    for (const slot of this.#slots.filter(isRunning)) {
      if (++slot.silentRounds <= SILENT_ROUNDS) {
        void slot.ask(false);
        continue;
      }
      this.#options.log.error({ event: 'worker.hung', worker: slot.index }, 'Killing a worker that does not answer');
      slot.signal('SIGKILL');
    }
  }

  async #readiness(): Promise<Readiness> {
    if (this.#isStopping) return { isReady: false, text: 'stopping' };
    const reports = this.#slots.map(async (slot) => {
      const answer = await slot.ask(false);
      const { hasServed, index, state } = slot;
      const silence = answer === undefined && state === 'serving' ? 'no answer' : undefined;
      return { index, state, hasServed, missing: answer?.missing ?? silence };
    });
    return judgeReadiness(await Promise.all(reports));
  }

  /** The workers that have told their metrics in time. */
  async #askForMetrics(): Promise<ReadonlySet<number>> {
    const present = new Set<number>();
    const ask = async (slot: WorkerSlot): Promise<void> => {
      const answer = await slot.ask(true);
      if (answer?.metrics !== undefined) present.add(slot.index);
      else if (isRunning(slot))
        this.#options.log.warn(
          { event: 'worker.silent', worker: slot.index },
          'A worker did not tell its metrics in time',
        );
    };
    await Promise.all(this.#slots.map(ask));
    return present;
  }

  #figures() {
    const running = this.#slots.filter(isRunning).length;
    return { ...this.#counts, configured: this.#slots.length, running };
  }

  #endIfDone(): void {
    if (this.#slots.some(isRunning)) return;
    clearTimeout(this.#killTimer);
    const end = (): void => this.#options.ended(this.#exitCode);
    (this.#admin?.close() ?? Promise.resolve()).then(end, end);
  }
}

function isRunning({ state }: WorkerSlot): boolean {
  return state !== 'down';
}
