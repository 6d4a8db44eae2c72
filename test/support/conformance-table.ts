/** Which statements of the standards the test titles name, as the table of docs/conformance.md. Those of the corpus are made from its cases. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { citationsOf, groups } from '../conformance/corpus/groups.ts';

const tests = fileURLToPath(new URL('..', import.meta.url));

type Standard = 'MQTT5' | 'MQTT311';

/** Test files by statement, for one standard. */
function citations(standard: Standard): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const add = (id: string, test: string): void => void found.set(id, (found.get(id) ?? new Set()).add(test));
  const files = readdirSync(tests, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.test.ts'));
  for (const file of files.sort()) {
    for (const match of readFileSync(join(tests, file), 'utf8').matchAll(/\[(MQTT5|MQTT311) (\d+(?:\.\d+)+-\d+)\]/g)) {
      const [, cited, id = ''] = match;
      if (cited === standard) add(id, basename(file, '.test.ts'));
    }
  }
  for (const cited of groups.flatMap(citationsOf)) {
    const [name, id = ''] = cited.split(' ');
    if (name === standard) add(id, 'corpus');
  }
  return found;
}

/** `3.1.0-2` before `3.1.2-1` before `3.10.1-1`. */
function compareIds(a: string, b: string): number {
  const [first, second] = [a, b].map((id) => id.split(/[.-]/).map(Number));
  for (const [index, number] of (first ?? []).entries()) {
    const difference = number - (second?.[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function tableOf(standard: Standard): string {
  const found = citations(standard);
  const rows = [...found.keys()].sort(compareIds).map((id) => `| ${id} | ${[...(found.get(id) ?? [])].join(', ')} |`);
  return [`${rows.length} statements.`, '', '| statement | tests |', '|---|---|', ...rows].join('\n');
}

/** Everything below the introduction of docs/conformance.md. */
export function conformanceTables(): string {
  return `## MQTT 5.0\n\n${tableOf('MQTT5')}\n\n## MQTT 3.1.1\n\n${tableOf('MQTT311')}\n`;
}
