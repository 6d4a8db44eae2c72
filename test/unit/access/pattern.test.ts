/** access/pattern.ts: covering and overlapping, against all topics of a small alphabet. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Pattern } from '../../../src/access/pattern.ts';
import { filtersOverlap, isTopicFilter, isTopicName, topicMatches } from '../../../src/mqtt/topic.ts';

const LEVELS = 3;
/** `z` stands in no filter; topics may be one level longer than any filter: what holds for these topics holds for all. */
const topicLevels = ['', 'a', '$', 'z'];
const topics = topicsUpTo(LEVELS + 1).filter(isTopicName);

function topicsUpTo(levels: number): string[] {
  if (levels === 1) return topicLevels;
  const shorter = topicsUpTo(levels - 1);
  return [...shorter, ...shorter.flatMap((topic) => topicLevels.map((level) => `${topic}/${level}`))];
}

const filters = fc
  .tuple(
    fc.array(fc.constantFrom('', 'a', '$', '+'), { maxLength: LEVELS - 1 }),
    fc.constantFrom('', 'a', '$', '+', '#'),
  )
  .map(([levels, last]) => [...levels, last].join('/'))
  .filter(isTopicFilter);

function matched(filter: string): string[] {
  return topics.filter((topic) => topicMatches(filter, topic));
}

test('pattern - a filter covers another one if it matches every topic that the other one matches', () => {
  fc.assert(
    fc.property(filters, filters, (outer, inner) => {
      const isCovered = matched(inner).every((topic) => topicMatches(outer, topic));
      assert.equal(new Pattern(outer).covers(new Pattern(inner)), isCovered, `${outer} covers ${inner}`);
    }),
    { numRuns: 5_000 },
  );
});

test('pattern - two filters overlap if some topic matches both', () => {
  fc.assert(
    fc.property(filters, filters, (one, other) => {
      const isMet = matched(one).some((topic) => topicMatches(other, topic));
      assert.equal(new Pattern(one).overlaps(new Pattern(other)), isMet, `${one} overlaps ${other}`);
      assert.equal(filtersOverlap(one, other), isMet);
    }),
    { numRuns: 5_000 },
  );
});

test('pattern - a topic is covered by the filters that match it', () => {
  fc.assert(
    fc.property(filters, fc.constantFrom(...topics), (filter, topic) => {
      assert.equal(new Pattern(filter).covers(new Pattern(topic)), topicMatches(filter, topic), `${filter} ${topic}`);
    }),
    { numRuns: 5_000 },
  );
});

test('pattern - what operators will ask', () => {
  const covers = (outer: string, inner: string): boolean => new Pattern(outer).covers(new Pattern(inner));
  assert.ok(covers('a/#', 'a/+'));
  assert.ok(covers('a/#', 'a'));
  assert.ok(covers('#', '+/+'));
  assert.ok(covers('+/#', '#'));
  assert.ok(!covers('a/#', '#'));
  assert.ok(!covers('a/+', 'a/#'));
  assert.ok(!covers('a/+/#', 'a/#'));
  assert.ok(!covers('#', '$SYS/#'));
  assert.ok(!covers('+/broker', '$SYS/broker'));
  assert.ok(covers('$SYS/#', '$SYS/broker/+'));
});
