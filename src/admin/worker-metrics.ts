/**
 * The metrics of several workers as those of one: the primary hands in what each has told, and shows the sum. A counter never falls: what a
 * worker had counted when it was last asked stays in the sum when it is silent or has ended, for a sum that falls looks to
 * Prometheus like a counter that began anew.
 */
import { AggregatorRegistry, Counter, Gauge, type Registry } from 'prom-client';

/** A metric as `Registry.getMetricsAsJSON` gives it and as it comes from another process. */
export interface MetricSnapshot {
  readonly name: string;
  readonly type: unknown;
  readonly values: ReadonlyArray<{ readonly value: number }>;
}

/** What the primary knows by itself. */
export interface WorkerFigures {
  readonly configured: number;
  readonly running: number;
  readonly restarts: number;
  /** Times that a worker was asked and did not answer in time. */
  readonly silences: number;
}

/** Metrics that may only grow. */
const CUMULATIVE: readonly unknown[] = ['counter', 'histogram'];
const CLIENTS = 'supermq_clients_connected';

export class WorkerMetrics {
  readonly #latest = new Map<number, readonly MetricSnapshot[]>();
  #ended: readonly MetricSnapshot[] = [];

  /** A worker has told its metrics, in time or too late. */
  told(index: number, metrics: readonly MetricSnapshot[]): void {
    this.#latest.set(index, metrics);
  }

  /** A worker's process has ended; the next one with this index begins at 0. */
  ended(index: number): void {
    const last = cumulative(this.#latest.get(index) ?? []);
    this.#latest.delete(index);
    this.#ended = snapshotsOf(sum([this.#ended, last]));
  }

  /** The sum; of the workers that are not among `present` only what cannot fall. */
  sum(present: ReadonlySet<number>, figures: WorkerFigures): Registry {
    const told = [...this.#latest].map(([index, metrics]) => (present.has(index) ? metrics : cumulative(metrics)));
    const registry = sum([...told, this.#ended]);
    addFigures(registry, figures);
    this.#addClients(registry, present);
    return registry;
  }

  /** The one figure of each worker by itself: whether the connections are spread evenly. */
  #addClients(registry: Registry, present: ReadonlySet<number>): void {
    const gauge = new Gauge({
      name: 'supermq_worker_clients_connected',
      help: 'Clients connected to each worker',
      labelNames: ['worker'],
      registers: [registry],
    });
    for (const [index, metrics] of this.#latest) {
      const clients = metrics.find(({ name }) => name === CLIENTS)?.values[0]?.value;
      if (present.has(index) && clients !== undefined) gauge.set({ worker: String(index) }, clients);
    }
  }
}

function cumulative(metrics: readonly MetricSnapshot[]): readonly MetricSnapshot[] {
  return metrics.filter(({ type }) => CUMULATIVE.includes(type));
}

function sum(all: ReadonlyArray<readonly MetricSnapshot[]>): Registry {
  // A metric without values has no aggregator's result to show.
  return AggregatorRegistry.aggregate(all.map((metrics) => [...metrics]));
}

/** What prom-client registers for a sum carries its values, though its types do not say so. */
function snapshotsOf(registry: Registry): readonly MetricSnapshot[] {
  return registry.getMetricsAsArray() as unknown as readonly MetricSnapshot[];
}

function addFigures(registry: Registry, figures: WorkerFigures): void {
  const registers = [registry];
  new Gauge({ name: 'supermq_workers', help: 'Workers that run', registers }).set(figures.running);
  new Gauge({ name: 'supermq_workers_configured', help: 'Workers that should run', registers }).set(figures.configured);
  new Counter({
    name: 'supermq_worker_restarts_total',
    help: 'Workers that ended and were started again',
    registers,
  }).inc(figures.restarts);
  new Counter({
    name: 'supermq_worker_silences_total',
    help: 'Times that a worker did not answer for health or metrics within a second',
    registers,
  }).inc(figures.silences);
}
