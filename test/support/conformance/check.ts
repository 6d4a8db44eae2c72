/**
 * Behind `npm run check:conformance`, after a whole `npm test`: every behaviour of the list has a test that passes for each of its
 * statements and marks, every statement in a title is in the list, and docs/conformance.md says what this run has shown.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { coverageOf, unknownStatements } from './coverage.ts';
import { readResults } from './results.ts';
import { conformanceTables } from './tables.ts';

const document = fileURLToPath(new URL('../../../docs/conformance.md', import.meta.url));
const results = readResults();
const coverage = coverageOf(results);
const problems = [
  ...coverage.flatMap(({ behaviour: { section, text }, missing }) =>
    missing.map((gap) => `${section}: ${text}: ${gap}`),
  ),
  ...unknownStatements(results).map((statement) => `not in behaviours.md: ${statement}`),
];
if (!readFileSync(document, 'utf8').endsWith(conformanceTables(results)))
  problems.push('docs/conformance.md is not of this run: npm run docs:conformance');
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.stdout.write(`${coverage.length} behaviours, ${problems.length} problems\n`);
if (problems.length > 0) process.exitCode = 1;
