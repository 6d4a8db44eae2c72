/** Writes what is made from the schema: the table in docs/configuration.md and config/default.yaml (`npm run docs:config`). */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { configurationTable, defaultYaml } from '../../src/config/reference.ts';

const doc = fileURLToPath(new URL('../../docs/configuration.md', import.meta.url));
const yaml = fileURLToPath(new URL('../../config/default.yaml', import.meta.url));

const text = readFileSync(doc, 'utf8');
const start = text.indexOf('| key |');
const end = text.indexOf('\n\n', start);
writeFileSync(doc, `${text.slice(0, start)}${configurationTable()}${end < 0 ? '\n' : text.slice(end)}`);
writeFileSync(yaml, defaultYaml());
