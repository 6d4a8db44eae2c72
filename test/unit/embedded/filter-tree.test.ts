/** The tree of filters: what it finds is what matching filters one by one would find, and nothing stays behind in it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { FilterTree } from '../../../src/embedded/filter-tree.ts';
import { isTopicFilter, isTopicName, topicMatches } from '../../../src/mqtt/topic.ts';

function found<T>(tree: FilterTree<T>, topic: string): T[] {
  const values: T[] = [];
  tree.match(topic, (value) => values.push(value));
  return values;
}

/** What is in use once the garbage is gone. */
function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
  return process.memoryUsage().heapUsed;
}

const levels = ['', 'a', 'b', '$x', '__proto__'];
const joined = (from: readonly string[]): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...from), { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'));
const topic = joined(levels).filter(isTopicName);
const filter = fc
  .tuple(joined([...levels, '+']), fc.boolean())
  .map(([start, isOpen]) => (isOpen ? `${start}/#`.replace(/^\+\/#$/, '#') : start))
  .filter(isTopicFilter);

describe('filter tree', () => {
  test('[MQTT5 4.7.1-1] [MQTT5 4.7.1-2] finds exact filters, `+`, `#` and the parent of `/#`, each once', () => {
    const tree = new FilterTree<string>();
    const filters = ['a/b', 'a/+', 'a/#', '#', '+/b', '+/+', 'a', 'a/b/#', 'a/b/+', '/a/b', '+', 'a/b/'];
    for (const text of filters) tree.add(text, text);
    assert.deepEqual(found(tree, 'a/b').sort(), ['#', '+/+', '+/b', 'a/#', 'a/+', 'a/b', 'a/b/#']);
    assert.deepEqual(found(tree, 'a').sort(), ['#', '+', 'a', 'a/#']);
    assert.deepEqual(found(tree, '/'), ['#', '+/+']);
    assert.equal(tree.size, filters.length);
  });

  test('[MQTT5 4.7.2-1] [MQTT311 4.7.2-1] wildcards in front leave out topics that start with `$`', () => {
    const tree = new FilterTree<string>();
    for (const text of ['#', '+', '+/#', '+/a', '$SYS/#', '$SYS/+']) tree.add(text, text);
    assert.deepEqual(found(tree, '$SYS/a').sort(), ['$SYS/#', '$SYS/+']);
    assert.deepEqual(found(tree, '$SYS'), ['$SYS/#']);
    assert.deepEqual(found(tree, 'b/$SYS').sort(), ['#', '+/#']);
  });

  test('one filter holds many values, each once', () => {
    const tree = new FilterTree<number>();
    tree.add('a/+', 1);
    tree.add('a/+', 2);
    tree.add('a/+', 1);
    assert.equal(tree.size, 2);
    assert.deepEqual(found(tree, 'a/x'), [1, 2]);
    assert.equal(tree.remove('a/+', 1), true);
    assert.equal(tree.remove('a/+', 1), false);
    assert.deepEqual(found(tree, 'a/x'), [2]);
    assert.equal(tree.size, 1);
  });

  test('removing what is not there changes nothing', () => {
    const tree = new FilterTree<number>();
    tree.add('a/b/c', 1);
    for (const text of ['a', 'a/b', 'a/b/c/d', 'x', '#', 'a/+/c']) assert.equal(tree.remove(text, 1), false, text);
    assert.equal(tree.remove('a/b/c', 2), false);
    assert.deepEqual(found(tree, 'a/b/c'), [1]);
  });

  test('a filter that others go through, or that goes through others, is removed alone', () => {
    const tree = new FilterTree<string>();
    for (const text of ['a', 'a/b', 'a/b/c', 'a/b/d']) tree.add(text, text);
    tree.remove('a/b', 'a/b');
    assert.deepEqual(found(tree, 'a/b'), []);
    assert.deepEqual(found(tree, 'a/b/c'), ['a/b/c']);
    tree.remove('a/b/c', 'a/b/c');
    assert.deepEqual(found(tree, 'a'), ['a']);
    assert.deepEqual(found(tree, 'a/b/d'), ['a/b/d']);
  });

  test('empty branches go: 100,000 filters, each added and removed, leave no memory behind', () => {
    const tree = new FilterTree<number>();
    for (let i = 0; i < 1_000; i++) {
      tree.add(`warm/${i}`, i);
      tree.remove(`warm/${i}`, i);
    }
    const before = heapBytes();
    for (let i = 0; i < 100_000; i++) {
      tree.add(`f/${i}/x`, i);
      assert.equal(tree.remove(`f/${i}/x`, i), true);
    }
    const grown = heapBytes() - before;
    assert.equal(tree.size, 0);
    // branches that stayed would be above 40 MB
    assert.ok(grown < 5e6, `${grown} bytes`);
  });

  test('agrees with topicMatches on random filters and topics, while filters come and go', () => {
    const change = fc.tuple(fc.boolean(), filter);
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), fc.array(topic, { maxLength: 20 }), (changes, topics) => {
        const tree = new FilterTree<string>();
        const held = new Set<string>();
        for (const [isAdded, text] of changes) {
          if (isAdded) tree.add(text, text);
          else assert.equal(tree.remove(text, text), held.has(text));
          if (isAdded) held.add(text);
          else held.delete(text);
        }
        assert.equal(tree.size, held.size);
        for (const name of topics) {
          const expected = [...held].filter((text) => topicMatches(text, name));
          assert.deepEqual(found(tree, name).sort(), expected.sort(), name);
        }
      }),
      { numRuns: 20_000 },
    );
  });

  test('topics of 65,535 levels neither overflow the stack nor take long', () => {
    const tree = new FilterTree<string>();
    const deepest = Array.from({ length: 256 }, () => '+').join('/');
    for (const text of ['#', '+/#', deepest, `${deepest}/#`, 'a/#']) tree.add(text, text);
    const started = performance.now();
    for (let i = 0; i < 100; i++) assert.equal(found(tree, '/'.repeat(65_534)).length, 3);
    const perMatch = (performance.now() - started) / 100;
    assert.ok(perMatch < 100, `${perMatch} ms`);
  });

  test('every mix of `a` and `+` at twelve levels: work follows the tree', () => {
    const tree = new FilterTree<number>();
    for (let i = 0; i < 2 ** 12; i++) {
      tree.add(i.toString(2).padStart(12, '0').replaceAll('0', 'a').split('').join('/').replaceAll('1', '+'), i);
    }
    const path = Array.from({ length: 12 }, () => 'a').join('/');
    assert.equal(found(tree, path).length, 2 ** 12);
    assert.equal(found(tree, `${path}/a`).length, 0);
  });
});
