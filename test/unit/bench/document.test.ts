/** Generated tables have their place in docs/benchmarks.md, and leave the rest of it alone. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { circumstances } from '../../bench/circumstances.ts';
import { hasSection, replaceSection, sections } from '../../bench/document.ts';
import { pressures } from '../../bench/pressure-cases.ts';
import { scenarios } from '../../bench/scenarios.ts';

const text = [
  'By hand.',
  '<!-- bench pair: begin -->\nold\n<!-- bench pair: end -->',
  '<!-- bench pair-qos1: begin -->\nother\n<!-- bench pair-qos1: end -->',
  'By hand too.',
].join('\n');

test('only what stands between the markers of the scenario is replaced', () => {
  const changed = replaceSection(text, 'pair', 'new $& table\n');
  assert.equal(
    changed,
    text.replace('\nold\n', () => '\n\nnew $& table\n\n'),
  );
  assert.equal(replaceSection(changed, 'pair', 'new $& table'), changed);
});

test('a scenario without a place is refused', () => {
  assert.ok(!hasSection(text, 'fanout'));
  assert.throws(() => replaceSection(text, 'fanout', 'table'), /no place for fanout/);
});

test('docs/benchmarks.md has one place for each scenario and kind of pressure, and none for others', () => {
  const document = readFileSync(new URL('../../../docs/benchmarks.md', import.meta.url), 'utf8');
  const names = [...Object.keys(scenarios), ...pressures.map((pressure) => `pressure-${pressure}`)];
  assert.deepEqual(sections(document).sort(), names.sort());
  for (const name of names) assert.ok(hasSection(document, name), name);
});

test('the line below a table tells date, rounds, command, versions and machine', () => {
  const versions = [{ name: 'supermq', version: 'abc1234' }];
  const line = circumstances({ rounds: 1, versions, command: 'npm run bench' }, new Date('2026-11-28T12:00:00Z'));
  assert.match(line, /^2026-11-28, 1 round, `npm run bench`\. supermq abc1234; Node\.js \d+.*, Linux .*, \d+ cores\.$/);
});
