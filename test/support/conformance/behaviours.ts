/** The list of test/conformance/behaviours.md as data: what each line says, which statements it cites, how it is marked. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** [C] exact reaction, [X] across nodes, [K] with a killed node, [E] wills, retained and replayed copies too. */
export type Mark = 'C' | 'X' | 'K' | 'E';

export interface Behaviour {
  readonly section: string;
  readonly text: string;
  /** As test titles name them: `MQTT5 3.1.2-24`, `MQTT311 §3.1.4 early-packets`. */
  readonly statements: readonly string[];
  /** Those that a test has to name: sections only where the standard has no numbered statement for the line. */
  readonly required: readonly string[];
  readonly marks: readonly Mark[];
}

const path = fileURLToPath(new URL('../../conformance/behaviours.md', import.meta.url));
const standards: Readonly<Record<string, string>> = {
  '5': 'MQTT5',
  '3': 'MQTT311',
  '3.1': 'MQTT31',
  supermq: 'supermq',
};
const citation = /(?<![\w.])(5|3|3\.1|supermq):(§?[\d.]*\d(?:-\d+)?|[A-Za-z-]+)(?:\(([a-z-]+)\))?/g;

/** @throws Error for a line that cites nothing */
export function readBehaviours(): Behaviour[] {
  const behaviours: Behaviour[] = [];
  let section = '';
  let part = '';
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line.startsWith('## ')) [section, part] = [line.slice(3), ''];
    else if (line.startsWith('### ')) part = line.slice(4);
    else if (line.startsWith('- ') && section !== '') behaviours.push(parse(line.slice(2), section, part));
  }
  return behaviours;
}

function parse(line: string, section: string, part: string): Behaviour {
  const statements: string[] = [];
  for (const [, standard = '', id = '', word] of line.matchAll(citation))
    statements.push(`${standards[standard]} ${id}${word === undefined ? '' : ` ${word}`}`);
  if (statements.length === 0) throw new Error(`behaviours.md cites no statement for: ${line}`);
  const marks = [...line.matchAll(/\[([CXKE])\]/g)].map(([, mark]) => mark as Mark); // the pattern has only these
  const text = line
    .replaceAll(citation, '')
    .replaceAll(/`(\[[CXKE]\])+`/g, '')
    .replaceAll(/\s*—\s*(?=$|[;,])/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
  return {
    section: part === '' ? section : `${section}: ${part}`,
    text,
    statements,
    required: statements.filter((statement) => isRequired(statement, statements)),
    marks: [...new Set(marks)],
  };
}

/** A section is one of several places that say the same where numbered statements of that standard are there too. */
function isRequired(statement: string, all: readonly string[]): boolean {
  if (!statement.includes('§')) return true;
  const standard = statement.slice(0, statement.indexOf(' ') + 1);
  return !all.some((other) => other.startsWith(standard) && !other.includes('§'));
}
