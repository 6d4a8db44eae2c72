/** Writes the table in docs/metrics.md (`npm run docs:metrics`). */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { metricsTable } from './metrics-table.ts';

const page = fileURLToPath(new URL('../../docs/metrics.md', import.meta.url));
const text = readFileSync(page, 'utf8');
writeFileSync(page, `${text.slice(0, text.indexOf('| metric |'))}${await metricsTable()}`);
