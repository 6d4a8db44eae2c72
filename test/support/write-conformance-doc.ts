/** Writes the tables of docs/conformance.md from the titles of the tests (`npm run docs:conformance`). */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { conformanceTables } from './conformance-table.ts';

const path = fileURLToPath(new URL('../../docs/conformance.md', import.meta.url));
const text = readFileSync(path, 'utf8');
writeFileSync(path, text.slice(0, text.indexOf('## MQTT 5.0')) + conformanceTables());
