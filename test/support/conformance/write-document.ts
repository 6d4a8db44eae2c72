/** Writes the tables of docs/conformance.md from the results of the last `npm test` (`npm run docs:conformance`). */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readResults } from './results.ts';
import { conformanceTables } from './tables.ts';

const path = fileURLToPath(new URL('../../../docs/conformance.md', import.meta.url));
const text = readFileSync(path, 'utf8');
writeFileSync(path, text.slice(0, text.indexOf('## Behaviours')) + conformanceTables(readResults()));
