/**
 * The outcome of every test of a whole run, with the deployment it ran on: written by the runner, read by the conformance check and
 * the writer of docs/conformance.md.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { DeploymentKind } from '../deployment.ts';

/** own: the test starts what it needs by itself (unit tests, contract tests, tests that kill nodes). */
export type Setting = DeploymentKind | 'own';

export interface TestResult {
  /** Path below test/. */
  readonly file: string;
  readonly title: string;
  readonly setting: Setting;
  readonly outcome: 'passed' | 'failed' | 'skipped';
}

const path = fileURLToPath(new URL('../../../test-results.json', import.meta.url));

export function writeResults(results: readonly TestResult[]): void {
  writeFileSync(path, `${JSON.stringify(results)}\n`);
}

/** @throws Error when no whole run has ended in this tree */
export function readResults(): TestResult[] {
  if (!existsSync(path)) throw new Error('There are no results of a whole run: npm test first');
  return JSON.parse(readFileSync(path, 'utf8')) as TestResult[]; // written by writeResults
}
