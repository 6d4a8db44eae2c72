/** What the primary and its workers say to each other over node's channel between them. Only our own processes write there. */
import type { MetricSnapshot } from '../admin/worker-metrics.ts';
import type { Config } from '../config/config.ts';

/** The answer to {@link Hello}: who it is. All workers have the configuration that the primary has read, for as long as it lives. */
export interface Assignment {
  readonly kind: 'assignment';
  readonly index: number;
  readonly config: Config;
}

/** How are you? The answer has the same serial number. */
export interface Question {
  readonly kind: 'question';
  readonly serial: number;
  readonly wantsMetrics: boolean;
}

export type ToWorker = Assignment | Question;

export interface Answer {
  readonly kind: 'answer';
  readonly serial: number;
  /** Why the worker is not ready; absent when it is. */
  readonly missing?: string;
  readonly metrics?: readonly MetricSnapshot[];
}

/** The first message of a worker: it listens. What is sent to an ES module before that, node may lose. */
export interface Hello {
  readonly kind: 'hello';
}

/** `serving`: its listeners are open, from now on it gets connections; `stopping`: it gets none any more. */
export interface Progress {
  readonly kind: 'serving' | 'stopping';
}

export type ToPrimary = Hello | Answer | Progress;
