/** Message ids are remembered for as long as promised, and not much longer nor in any number. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DuplicateWindow } from '../../../src/embedded/duplicate-window.ts';

describe('duplicate window', () => {
  test('knows an id for two minutes', () => {
    const ids = new DuplicateWindow();
    ids.add('a', 7, 1_000);
    assert.equal(ids.find('a', 120_999), 7);
    assert.equal(ids.find('a', 121_000), undefined);
    assert.equal(ids.find('b', 1_000), undefined);
  });

  test('forgets what is over when others come, even when one of them comes again', () => {
    const ids = new DuplicateWindow();
    for (let i = 0; i < 100; i++) ids.add(`old ${i}`, i + 1, i);
    ids.add('old 0', 200, 120_000);
    ids.add('new', 201, 121_000);
    assert.equal(ids.find('old 0', 121_000), 200);
    assert.equal(ids.size, 2);
  });

  test('remembers 200,000 ids at most, the newest', () => {
    const ids = new DuplicateWindow();
    for (let i = 1; i <= 250_000; i++) ids.add(`id ${i}`, i, 0);
    assert.equal(ids.size, 200_000);
    assert.equal(ids.find('id 50000', 0), undefined);
    assert.equal(ids.find('id 50001', 0), 50_001);
  });
});
