/** What the documentation says about files and tests is true. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { metricsTable } from '../support/metrics-table.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)];

test('docs - every link between pages leads to a file', () => {
  let links = 0;
  for (const page of pages) {
    for (const [, target = ''] of readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)#:]+)\)/g)) {
      links++;
      assert.ok(existsSync(join(root, dirname(page), target)), `${page} links to ${target}`);
    }
  }
  assert.ok(links > 10);
});

test('docs - every source file that a page names exists', () => {
  for (const page of pages) {
    for (const [, folder = '', file = ''] of readFileSync(join(root, page), 'utf8').matchAll(
      /`?\b(transport|mqtt|connection|session|broker|nats|embedded|config|admin|admission|access|auth|workers)\/([\w-]+\.ts)\b/g,
    )) {
      assert.ok(existsSync(join(root, 'src', folder, file)), `${page} names ${folder}/${file}`);
    }
  }
});

test('docs - every metric that a page names is one', () => {
  const folder = join(root, 'src/admin');
  const metrics = readdirSync(folder)
    .map((file) => readFileSync(join(folder, file), 'utf8'))
    .join('');
  for (const page of pages) {
    for (const [name] of readFileSync(join(root, page), 'utf8').matchAll(/\bsupermq_[a-z_]+/g)) {
      assert.ok(metrics.includes(`'${name}'`), `${page} names ${name}`);
    }
  }
});

test('docs - docs/metrics.md has the metrics of a node (npm run docs:metrics)', async () => {
  assert.ok(readFileSync(join(root, 'docs/metrics.md'), 'utf8').endsWith(await metricsTable()));
});
