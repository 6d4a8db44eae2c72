/** What runs in production beside our own code is named with its reason, and is what was locked. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Locked {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly hasInstallScript?: boolean;
  readonly integrity?: string;
}

function text(path: string): string {
  return readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
}

const { packages } = JSON.parse(text('package-lock.json')) as { packages: Record<string, Locked> }; // npm's own format
const locked = Object.entries(packages).filter(([path]) => path !== '');
const production = locked.filter(([, { dev, devOptional }]) => dev !== true && devOptional !== true);

test('dependencies - docs/security.md lists those of package.json, each with a reason and what it is trusted with', () => {
  const { dependencies } = JSON.parse(text('package.json')) as { dependencies: Record<string, string> }; // our own file
  const section =
    text('docs/security.md')
      .split(/^## /m)
      .find((part) => part.startsWith('Dependencies')) ?? '';
  const rows = [...section.matchAll(/^\| `([^`]+)` \| (.+) \| (.+) \|$/gm)];
  assert.deepEqual(rows.map(([, name]) => name).toSorted(), Object.keys(dependencies).toSorted());
  for (const [, , why = '', trust = ''] of rows) assert.ok(why.length > 5 && trust.length > 5);
});

test('dependencies - every package is locked to its bytes', () => {
  assert.ok(production.length > 20);
  for (const [path, { integrity }] of locked) assert.match(integrity ?? '', /^sha512-/, path);
});

test('dependencies - no package of production runs a script when it is installed', () => {
  for (const [path, { hasInstallScript }] of production) assert.notEqual(hasInstallScript, true, path);
});
