/** Which tests show which behaviour, and what is missing: a statement that no passing test names, a mark that none bears out. */
import { type Behaviour, type Mark, readBehaviours } from './behaviours.ts';
import type { TestResult } from './results.ts';

export interface Coverage {
  readonly behaviour: Behaviour;
  readonly tests: readonly TestResult[];
  /** Sentences. */
  readonly missing: readonly string[];
}

const named = /\[((?:MQTT5|MQTT311) §?[\d.]*\d(?:-\d+)?(?: [a-z-]+)?|MQTT31 MQIsdp|supermq [a-z-]+)\]/g;

/** The coverage of every behaviour, in the order of the list. */
export function coverageOf(results: readonly TestResult[]): Coverage[] {
  const byStatement = new Map<string, TestResult[]>();
  for (const result of results)
    for (const [, statement = ''] of result.title.matchAll(named))
      byStatement.set(statement, [...(byStatement.get(statement) ?? []), result]);
  return readBehaviours().map((behaviour) => {
    const tests = [...new Set(behaviour.statements.flatMap((statement) => byStatement.get(statement) ?? []))];
    return {
      behaviour,
      tests,
      missing: [...missingStatements(behaviour, byStatement), ...missingMarks(behaviour, tests)],
    };
  });
}

/** Numbered statements in titles that the list does not have: mistyped, or of another standard. Sections may be named freely. */
export function unknownStatements(results: readonly TestResult[]): string[] {
  const known = new Set(readBehaviours().flatMap(({ statements }) => statements));
  const unknown = new Set<string>();
  for (const { file, title } of results)
    for (const [, statement = ''] of title.matchAll(named))
      if (!statement.includes('§') && !known.has(statement)) unknown.add(`${statement} in ${file}`);
  return [...unknown];
}

function missingStatements({ required }: Behaviour, byStatement: ReadonlyMap<string, readonly TestResult[]>): string[] {
  const isShown = (statement: string): boolean => byStatement.get(statement)?.some(passed) === true;
  return required.filter((statement) => !isShown(statement)).map((statement) => `no passing test names [${statement}]`);
}

function missingMarks({ marks }: Behaviour, tests: readonly TestResult[]): string[] {
  const shown = tests.filter(passed);
  return marks
    .filter((mark) => !shown.some((test) => bears(test, mark)))
    .map((mark) => `no passing test for [${mark}]`);
}

function bears({ setting, title }: TestResult, mark: Mark): boolean {
  return title.includes(`[${mark}]`) || (mark === 'X' && setting === 'three-nodes');
}

export function passed({ outcome }: TestResult): boolean {
  return outcome === 'passed';
}
