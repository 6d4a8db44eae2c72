/** What node's test runner has said of each test file: totals under its own names, and whether a second look clears it. */
import type { TestEvent } from 'node:test/reporters';
import type { TestResult } from './conformance/results.ts';

const COUNTS = ['tests', 'suites', 'pass', 'fail', 'cancelled', 'skipped', 'todo'] as const;
const CANCELLED = new Set<string | undefined>(['cancelledByParent', 'testAborted', 'testTimeoutFailure']);

interface FileTally {
  readonly counts: Record<(typeof COUNTS)[number], number>;
  readonly results: TestResult[];
  /** Titles; an expected failure (`todo`) is no failure. */
  readonly failed: string[];
  readonly passed: Set<string>;
}

export class TestTally {
  readonly #files = new Map<string, FileTally>();

  /** `file`: relative to the tests; `setting`: as in {@link TestResult}. */
  note({ type, data }: TestEvent, file: string, setting: TestResult['setting']): void {
    if (type !== 'test:pass' && type !== 'test:fail') return;
    const tally = this.#tallyOf(file);
    const { counts } = tally;
    const failure = type === 'test:fail' && data.todo === undefined ? failureType(data.details) : undefined;
    // A suite fails because of its tests, which say so on their own.
    if (failure !== undefined && failure !== 'subtestsFailed') tally.failed.push(data.name);
    if (type === 'test:pass' && data.skip === undefined) tally.passed.add(data.name);
    if (data.details.type === 'suite') {
      counts.suites += 1;
      return;
    }
    counts.tests += 1;
    if (data.todo !== undefined) counts.todo += 1;
    else if (data.skip !== undefined) counts.skipped += 1;
    else if (type === 'test:pass') counts.pass += 1;
    else if (CANCELLED.has(failure)) counts.cancelled += 1;
    else counts.fail += 1;
    if (data.file === undefined || data.name === data.file) return;
    const outcome = type === 'test:fail' ? 'failed' : data.skip === undefined ? 'passed' : 'skipped';
    tally.results.push({ file, title: data.name, setting, outcome });
  }

  /** Titles of what has failed by file, without files in which nothing has. */
  failures(): Map<string, readonly string[]> {
    const withFailures = [...this.#files].filter(([, { failed }]) => failed.length > 0);
    return new Map(withFailures.map(([file, { failed }]) => [file, failed]));
  }

  /** Whether in `second` nothing of the file fails, and all passes that has failed here; what it says of the file stands from then on. */
  passesNow(file: string, second: TestTally): boolean {
    const first = this.#files.get(file);
    const again = second.#files.get(file);
    if (first === undefined || again === undefined || again.failed.length > 0) return false;
    if (!first.failed.every((title) => again.passed.has(title))) return false;
    this.#files.set(file, again);
    return true;
  }

  results(): TestResult[] {
    return [...this.#files.values()].flatMap(({ results }) => results);
  }

  /** Name and number, in node's order. */
  totals(): Array<[(typeof COUNTS)[number], number]> {
    return COUNTS.map((name) => [name, [...this.#files.values()].reduce((sum, { counts }) => sum + counts[name], 0)]);
  }

  #tallyOf(file: string): FileTally {
    let tally = this.#files.get(file);
    if (tally === undefined) {
      const counts = { tests: 0, suites: 0, pass: 0, fail: 0, cancelled: 0, skipped: 0, todo: 0 };
      tally = { counts, results: [], failed: [], passed: new Set() };
      this.#files.set(file, tally);
    }
    return tally;
  }
}

/** Node's name for the kind of failure; `unknown` when it gives none. */
function failureType({ error }: { error?: unknown }): string {
  return typeof error === 'object' && error !== null && 'failureType' in error ? String(error.failureType) : 'unknown';
}
