/** Topic names, topic filters, the two spellings of groups, matching and overlap: tables, and all short strings against a second opinion. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  filtersOverlap,
  firstLevel,
  hasWildcard,
  isTopicFilter,
  isTopicName,
  parseFilter,
  startsWithWildcard,
  topicMatches,
} from '../../../src/mqtt/topic.ts';

/** All strings over `alphabet` with one to `length` characters. */
function strings(alphabet: readonly string[], length: number): string[] {
  let all: string[] = [];
  let longest = [''];
  for (let i = 0; i < length; i++) {
    longest = longest.flatMap((start) => alphabet.map((character) => start + character));
    all = all.concat(longest);
  }
  return all;
}

/** The grammar of a filter, written independently of the code: levels, then perhaps `#`. */
const filterGrammar = /^(?!$)(?:(?:(?:\+|[^+#/\0]*)\/)*(?:\+|[^+#/\0]*|#))$/;

/** Section 4.7 as a regular expression: a second opinion. */
function matcherOf(filter: string): RegExp {
  const levels = filter
    .replace(/[\\^$.*?()[\]{}|]/g, '\\$&')
    .replaceAll('+', '[^/]*')
    .replace(/\/#$/, '(?:/.*)?')
    .replace(/^#$/, '.*');
  return new RegExp(`^${/^[+#]/.test(filter) ? '(?!\\$)' : ''}${levels}$`, 's');
}

describe('topic names', () => {
  test('[MQTT5 4.7.3-1] [MQTT311 4.7.3-1] at least one character, and nothing else about it is wrong', () => {
    assert.equal(isTopicName(''), false);
    for (const name of [
      'a',
      '/',
      '//',
      ' ',
      'a b',
      '.',
      '*',
      '>',
      '~',
      '%',
      '$SYS',
      'é',
      '日本/🦆',
      '\uFEFFa',
      '\x01',
      '\x7f',
    ])
      assert.equal(isTopicName(name), true, JSON.stringify(name));
  });

  test('[MQTT5 4.7.3-2] [MQTT311 4.7.3-2] no U+0000', () => {
    for (const name of ['\0', 'a\0', 'a/\0/b']) {
      assert.equal(isTopicName(name), false);
      assert.equal(isTopicFilter(name), false);
    }
  });

  test('[MQTT5 4.7.3-3] [MQTT311 4.7.3-3] at most 65,535 bytes, counted as UTF-8', () => {
    for (const isLegal of [isTopicName, isTopicFilter]) {
      assert.equal(isLegal('a'.repeat(65_535)), true);
      assert.equal(isLegal('a'.repeat(65_536)), false);
      assert.equal(isLegal('é'.repeat(32_767)), true);
      assert.equal(isLegal('é'.repeat(32_768)), false);
      assert.equal(isLegal('🦆'.repeat(16_384)), false);
    }
  });

  test('[MQTT5 3.3.2-2] [MQTT5 4.7.0-1] [MQTT311 3.3.2-2] [MQTT311 4.7.1-1] no wildcards anywhere', () => {
    for (const name of ['+', '#', 'a/+', 'a/#', 'a+', 'a#b', '+a', '/+/']) assert.equal(isTopicName(name), false, name);
  });
});

describe('topic filters', () => {
  test('[MQTT5 4.7.1-1] [MQTT311 4.7.1-2] `#` stands alone or after `/`, and last', () => {
    for (const filter of ['#', 'a/#', '/#', '//#', 'sport/tennis/#', '+/#', '$SYS/#'])
      assert.equal(isTopicFilter(filter), true, filter);
    for (const filter of ['sport/tennis#', 'sport/tennis/#/ranking', '#/', '##', '#a', 'a/##', '#/#', '+#'])
      assert.equal(isTopicFilter(filter), false, filter);
  });

  test('[MQTT5 4.7.1-2] [MQTT311 4.7.1-3] `+` fills a whole level, anywhere, many times', () => {
    for (const filter of ['+', '+/tennis/#', '/+', '+/+', 'sport/+/player1', '+/', 'a/+/+/b', '/+/'])
      assert.equal(isTopicFilter(filter), true, filter);
    for (const filter of ['sport+', '+a', 'a/+b/c', 'a/b+', '++', '+/++'])
      assert.equal(isTopicFilter(filter), false, filter);
  });

  test('[MQTT5 4.7.3-1] [MQTT311 4.7.3-1] an empty filter is none', () => assert.equal(isTopicFilter(''), false));

  test('every string of up to six characters is judged as the grammar judges it', () => {
    for (const text of strings(['a', '/', '+', '#', '$', '\0'], 6))
      assert.equal(isTopicFilter(text), filterGrammar.test(text), JSON.stringify(text));
  });

  test('first levels and wildcards are seen', () => {
    const rows: Array<[filter: string, first: string, isWild: boolean, startsWild: boolean]> = [
      ['a/b', 'a', false, false],
      ['a', 'a', false, false],
      ['/a', '', false, false],
      ['a/+', 'a', true, false],
      ['/#', '', true, false],
      ['+/a', '+', true, true],
      ['#', '#', true, true],
    ];
    for (const [filter, ...expected] of rows)
      assert.deepEqual([firstLevel(filter), hasWildcard(filter), startsWithWildcard(filter)], expected, filter);
  });
});

describe('groups', () => {
  const parsed = (group: string | undefined, filter: string) => ({ group, filter });

  test('a filter without marker has no group, whatever it looks like', () => {
    for (const filter of [
      'a',
      '#',
      '+/b',
      '$SYS/#',
      '$shared/a/b',
      '$share2',
      '$ga/x/y',
      'a/$share/b/c',
      '/$g/a/b',
      '$',
    ])
      assert.deepEqual(parseFilter(filter), parsed(undefined, filter));
    assert.equal(parseFilter('a#'), undefined);
  });

  test('[MQTT5 4.8.2-1] [MQTT5 4.8.2-2] `$share/{name}/{filter}`: a name of one character or more without `/` `+` `#`', () => {
    assert.deepEqual(parseFilter('$share/consumer1/sport/tennis/+'), parsed('consumer1', 'sport/tennis/+'));
    assert.deepEqual(parseFilter('$share/x//finance'), parsed('x', '/finance'));
    assert.deepEqual(parseFilter('$share/a b/#'), parsed('a b', '#'));
    assert.deepEqual(parseFilter('$share/*>./a'), parsed('*>.', 'a'));
    assert.deepEqual(parseFilter('$share/_sys_/a'), parsed('_sys_', 'a'));
    assert.deepEqual(parseFilter(`$share/${'n'.repeat(300)}/a`), parsed('n'.repeat(300), 'a'));
    assert.deepEqual(parseFilter('$share/g/$SYS/x'), parsed('g', '$SYS/x'));
    for (const text of [
      '$share',
      '$share/',
      '$share/x',
      '$share/x/',
      '$share//a',
      '$share/+/a',
      '$share/#/a',
      '$share/a+/b',
    ])
      assert.equal(parseFilter(text), undefined, text);
    for (const text of ['$share/#', '$share/+', '$share/a\0/b', '$share/a/b\0', '$share/a/b#', '$share/a/#/b'])
      assert.equal(parseFilter(text), undefined, JSON.stringify(text));
  });

  test('`$g/{name}/{filter}`: a name of one to nine characters, `*` and `+` among them', () => {
    assert.deepEqual(parseFilter('$g/**123++/load/#'), parsed('**123++', 'load/#'));
    assert.deepEqual(parseFilter('$g/+/a'), parsed('+', 'a'));
    assert.deepEqual(parseFilter('$g/123456789/a'), parsed('123456789', 'a'));
    assert.deepEqual(parseFilter('$g/🦆🦆🦆🦆🦆🦆🦆🦆🦆/a'), parsed('🦆'.repeat(9), 'a'));
    assert.deepEqual(parseFilter('$g/x//'), parsed('x', '/'));
    for (const text of ['$g', '$g/', '$g/x', '$g/x/', '$g//a', '$g/1234567890/a', `$g/${'🦆'.repeat(10)}/a`, '$g/#/a'])
      assert.equal(parseFilter(text), undefined, text);
    for (const text of ['$g/a#/b', '$g/a\0/b', '$g/a/b+', '$g/#', '$g/+'])
      assert.equal(parseFilter(text), undefined, text);
  });

  test('both spellings name the same group', () => {
    assert.deepEqual(parseFilter('$g/x/a/#'), parseFilter('$share/x/a/#'));
  });

  test('a group within a group is no filter', () => {
    const markers = ['$share', '$g'];
    for (const outer of markers) {
      for (const inner of markers) {
        for (const rest of ['', '/', '/b', '/b/c']) assert.equal(parseFilter(`${outer}/a/${inner}${rest}`), undefined);
      }
    }
  });
});

describe('matching', () => {
  test('[MQTT5 4.7.1-1] [MQTT311 4.7.1-2] `#` matches the parent and all levels below', () => {
    for (const topic of [
      'sport/tennis/player1',
      'sport/tennis/player1/ranking',
      'sport/tennis/player1/score/wimbledon',
    ])
      assert.equal(topicMatches('sport/tennis/player1/#', topic), true, topic);
    for (const topic of ['sport', 'sport/', 'sport//', 'sport/a'])
      assert.equal(topicMatches('sport/#', topic), true, topic);
    assert.equal(topicMatches('sport/#', 'sports'), false);
    for (const topic of ['a', '/', '/a', 'a/b/c', '_INBOX/x']) assert.equal(topicMatches('#', topic), true, topic);
  });

  test('[MQTT5 4.7.1-2] [MQTT311 4.7.1-3] `+` matches one level, an empty one included', () => {
    const rows: Array<[filter: string, topic: string, isMatch: boolean]> = [
      ['sport/tennis/+', 'sport/tennis/player1', true],
      ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
      ['sport/+', 'sport', false],
      ['sport/+', 'sport/', true],
      ['+/+', '/finance', true],
      ['/+', '/finance', true],
      ['+', '/finance', false],
      ['+/a', '/a', true],
      ['+/+/+', '//', true],
      ['a/+/#', 'a', false],
      ['a/+/#', 'a/', true],
    ];
    for (const [filter, topic, isMatch] of rows)
      assert.equal(topicMatches(filter, topic), isMatch, `${filter} ${topic}`);
  });

  test('[MQTT5 4.7.2-1] [MQTT311 4.7.2-1] a wildcard in front does not match topics that start with `$`', () => {
    for (const filter of ['#', '+', '+/#', '+/monitor/Clients', '+/+', '+/monitor/+'])
      for (const topic of ['$SYS', '$SYS/', '$SYS/monitor/Clients', '$', '$a/b'])
        assert.equal(topicMatches(filter, topic), false);
    for (const filter of ['$SYS/#', '$SYS/monitor/+', '$SYS/monitor/Clients', '$SYS/+/Clients'])
      assert.equal(topicMatches(filter, '$SYS/monitor/Clients'), true, filter);
    assert.equal(topicMatches('+/$SYS', 'a/$SYS'), true);
    assert.equal(topicMatches('a/#', 'a/$x'), true);
  });

  test('[MQTT5 4.7.3-4] [MQTT311 4.7.3-4] nothing is normalised', () => {
    const different = [
      ['ACCOUNTS', 'Accounts'],
      ['a', 'a/'],
      ['a', '/a'],
      ['a/b', 'a//b'],
      ['a', 'a '],
      ['é', 'e\u0301'],
      ['a', '\uFEFFa'],
      ['a.b', 'a/b'],
      ['*', 'a'],
      ['>', 'a/b'],
      ['%41', 'A'],
    ] as const;
    for (const [a, b] of different) {
      assert.equal(topicMatches(a, b), false, `${a} ${b}`);
      assert.equal(topicMatches(b, a), false, `${b} ${a}`);
      assert.equal(topicMatches(a, a) && topicMatches(b, b), true);
    }
  });

  test('every short filter and topic is matched as a regular expression matches them', () => {
    const topics = strings(['a', 'b', '/', '$'], 5);
    for (const filter of strings(['a', '/', '+', '#', '$'], 4).filter(isTopicFilter)) {
      const matcher = matcherOf(filter);
      for (const topic of topics) {
        if (topicMatches(filter, topic) !== matcher.test(topic)) assert.fail(`${filter} and ${topic}: not ${matcher}`);
      }
    }
  });

  test('a topic of 65,535 levels is compared without trouble', () => {
    const deep = '/'.repeat(65_534);
    assert.equal(topicMatches('#', deep), true);
    assert.equal(topicMatches('+/+', deep), false);
    assert.equal(topicMatches(deep, deep), true);
  });
});

describe('overlap', () => {
  const levels = ['', 'a', '$b', '+', '#'];
  const sequences = (from: readonly string[], length: number): string[] =>
    length === 1 ? [...from] : sequences(from, length - 1).flatMap((start) => from.map((level) => `${start}/${level}`));
  const upTo = (from: readonly string[], length: number): string[] =>
    Array.from({ length }, (_, i) => sequences(from, i + 1)).flat();

  test('[MQTT5 4.7.2-1] two filters overlap exactly if some topic matches both', () => {
    const filters = upTo(levels, 3).filter(isTopicFilter);
    const topics = upTo(['', 'a', 'z', '$b'], 4).filter(isTopicName);
    const matched = filters.map((filter) => topics.map((topic) => topicMatches(filter, topic)));
    assert.ok(filters.length > 70 && topics.length > 300);
    for (const [i, a] of filters.entries()) {
      for (const [j, b] of filters.entries()) {
        const expected = matched[i]?.some((isMatch, k) => isMatch && matched[j]?.[k] === true);
        if (filtersOverlap(a, b) !== expected) assert.fail(`${a} and ${b}: expected ${expected}`);
      }
    }
  });
});
