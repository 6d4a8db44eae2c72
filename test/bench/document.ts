/** Where docs/benchmarks.md takes generated tables: between a pair of marker comments for each scenario. All else is written by hand. */

/** The text with what stands between the scenario's markers replaced; throws where the text has no such place. */
export function replaceSection(text: string, scenario: string, content: string): string {
  const [begin, end] = [marker(scenario, 'begin'), marker(scenario, 'end')];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`no place for ${scenario}: ${begin} and ${end} are missing`);
  return `${text.slice(0, from + begin.length)}\n\n${content.trim()}\n\n${text.slice(to)}`;
}

/** Whether the text has a place for the scenario's table. */
export function hasSection(text: string, scenario: string): boolean {
  const from = text.indexOf(marker(scenario, 'begin'));
  return from >= 0 && text.indexOf(marker(scenario, 'end')) > from;
}

/** The scenarios that have a place, in the text's order. */
export function sections(text: string): string[] {
  return [...text.matchAll(/<!-- bench ([\w-]+): begin -->/g)].map(([, scenario = '']) => scenario);
}

function marker(scenario: string, edge: 'begin' | 'end'): string {
  return `<!-- bench ${scenario}: ${edge} -->`;
}
