/** Topic ⇄ subject: fixtures, the caps, and that the mapping is bijective and keeps matching, on all short and 250,000 random topics. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isTopicFilter, isTopicName, topicMatches } from '../../../src/mqtt/topic.ts';
import { encodeGroup, MAX_LEVELS, MAX_SUBJECT_BYTES, SubjectMap } from '../../../src/nats/subject.ts';

const bare = new SubjectMap('');
const prefixed = new SubjectMap('site-1.mqtt_A');

/** Numbers below `bound`, the same ones in each run (mulberry32). */
function randomNumbers(seed: number): (bound: number) => number {
  return (bound) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

/** Characters that are special somewhere come often; all others of Unicode come too. */
const special = [
  ...'///...*> \t\r\n\x01\x1f\x7f\x80$_%~0123456789ABCDEFabcdef2A',
  'é',
  '\uFEFF',
  '\u2028',
  '日',
  '🦆',
  '_INBOX',
  '$SYS',
];

function randomTopic(random: (bound: number) => number): string {
  let topic = '';
  for (let left = 1 + random(12); left > 0; left--) {
    if (random(8) > 0) topic += special[random(special.length)];
    else topic += randomCharacter(random);
  }
  return topic;
}

function randomCharacter(random: (bound: number) => number): string {
  for (;;) {
    const codePoint = 1 + random(random(2) === 0 ? 0x2ff : 0x10ffff);
    const isSurrogate = codePoint >= 0xd800 && codePoint <= 0xdfff;
    const character = isSurrogate ? '' : String.fromCodePoint(codePoint);
    if (character !== '' && character !== '+' && character !== '#') return character;
  }
}

function encode(map: SubjectMap, topic: string): string {
  const subject = map.encodeTopic(topic);
  assert.ok(subject !== undefined, JSON.stringify(topic));
  return subject;
}

/** No empty token, nothing that ends a word or a line in the protocol, no wildcard in any place. */
const safeSubject = /^[^.*>\x00-\x20\x7f]+(?:\.[^.*>\x00-\x20\x7f]+)*$/;

/** How nats-server matches: `*` is one token, `>` one or more. */
function natsMatches(pattern: string, subject: string): boolean {
  const wanted = pattern.split('.');
  const tokens = subject.split('.');
  for (const [i, want] of wanted.entries()) {
    if (want === '>') return tokens.length > i;
    if (i >= tokens.length || (want !== '*' && want !== tokens[i])) return false;
  }
  return wanted.length === tokens.length;
}

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

describe('topics', () => {
  const fixtures: Array<[topic: string, subject: string]> = [
    ['sensors/7/temp', 'sensors.7.temp'],
    ['/', '/./'],
    ['//', '/././'],
    ['///', '/./././'],
    ['/foo', '/.foo'],
    ['//foo', '/./.foo'],
    ['///foo//', '/././.foo././'],
    ['foo/', 'foo./'],
    ['foo//', 'foo././'],
    ['foo//bar', 'foo./.bar'],
    ['/foo/bar/', '/.foo.bar./'],
    ['.', '//'],
    ['..', '////'],
    ['./', '//./'],
    ['.//.', '//././/'],
    ['././/.', '//.//././/'],
    ['//.foo.//', '/././/foo//././'],
    ['foo.bar', 'foo//bar'],
    ['foo.bar/baz', 'foo//bar.baz'],
    ['foo../bar/.', 'foo////.bar.//'],
    ['spBv1.0/group/NDATA', 'spBv1//0.group.NDATA'],
    ['a b', 'a/20b'],
    ['*', '/2A'],
    ['>', '/3E'],
    ['a*b/>c', 'a/2Ab./3Ec'],
    ['\x01\t\r\n\x1f\x7f', '/01/09/0D/0A/1F/7F'],
    ['2A', '2A'],
    ['/2A', '/.2A'],
    ['.2A', '//2A'],
    ['\x80\xa0é/日本/🦆', '\x80\xa0é.日本.🦆'],
    ['$x/~%', '$x.~%'],
  ];

  test('fixtures, both ways, with and without a prefix', () => {
    for (const [topic, subject] of fixtures) {
      assert.equal(bare.encodeTopic(topic), subject);
      assert.equal(bare.decodeSubject(subject), topic);
      assert.equal(prefixed.encodeTopic(topic), `site-1.mqtt_A.${subject}`);
      assert.equal(prefixed.decodeSubject(`site-1.mqtt_A.${subject}`), topic);
    }
  });

  test('[MQTT5 4.7.3-4] [MQTT311 4.7.3-4] 250,000 random topics: safe subjects, all different, each back to its topic', () => {
    const random = randomNumbers(1);
    const topicOf = new Map<string, string>();
    for (let i = 0; i < 250_000; i++) {
      const topic = randomTopic(random);
      const subject = encode(bare, topic);
      if (!safeSubject.test(subject)) assert.fail(JSON.stringify({ topic, subject }));
      if (bare.decodeSubject(subject) !== topic) assert.fail(JSON.stringify({ topic, subject }));
      if ((topicOf.get(subject) ?? topic) !== topic) assert.fail(JSON.stringify({ topic, subject }));
      topicOf.set(subject, topic);
      if (i % 8 === 0) assert.equal(prefixed.decodeSubject(encode(prefixed, topic)), topic);
    }
    assert.ok(topicOf.size > 200_000, `only ${topicOf.size} different topics`);
  });

  test('[MQTT5 4.7.3-4] every topic of up to five special characters', () => {
    const seen = new Set<string>();
    const topics = strings(['/', '.', '*', ' ', '2', 'A', '0', 'E'], 5);
    for (const topic of topics) {
      const subject = encode(bare, topic);
      if (!safeSubject.test(subject) || bare.decodeSubject(subject) !== topic)
        assert.fail(JSON.stringify({ topic, subject }));
      seen.add(subject);
    }
    assert.equal(seen.size, topics.length);
  });
});

describe('subjects', () => {
  const assertSound = (map: SubjectMap, subject: string): void => {
    const topic = map.decodeSubject(subject);
    if (topic === undefined) return;
    if (!isTopicName(topic) || map.encodeTopic(topic) !== subject) assert.fail(JSON.stringify({ topic, subject }));
  };

  test('every subject of up to six special characters is no topic, or the one subject of its topic', () => {
    for (const subject of strings(['/', '.', '2', 'A', '0', 'E', 'a', 'F'], 6)) assertSound(bare, subject);
    for (const subject of strings(['/', '.', '2', '*', '>', '+', '#', ' ', '\0', '\x7f'], 5))
      assertSound(bare, subject);
  });

  test('100,000 random subjects are no topic, or the one subject of their topic', () => {
    const random = randomNumbers(2);
    let topics = 0;
    for (let i = 0; i < 100_000; i++) {
      // a slip in one character of a good subject, so that many come close
      const good = encode(bare, randomTopic(random));
      const place = random(good.length);
      const subject = good.slice(0, place) + randomTopic(random).slice(0, random(3)) + good.slice(place + random(2));
      assertSound(bare, subject);
      if (bare.decodeSubject(subject) !== undefined) topics++;
      assertSound(prefixed, `site-1.mqtt_A.${subject}`);
    }
    assert.ok(topics > 10_000 && topics < 90_000, `${topics} of 100,000 are topics`);
  });

  test('[MQTT5 3.3.2-2] [MQTT5 4.7.0-1] [MQTT311 3.3.2-2] what a NATS application sends is no topic if it has a wildcard of MQTT', () => {
    for (const subject of ['+', '#', 'a.+', 'a.#', 'a+b', 'a.b#', '/.+'])
      assert.equal(bare.decodeSubject(subject), undefined);
  });

  test('[MQTT5 4.7.3-1] [MQTT311 4.7.3-1] no subject is the empty topic', () => {
    assert.equal(bare.decodeSubject('/'), undefined);
    assert.equal(bare.decodeSubject(''), undefined);
    assert.equal(prefixed.decodeSubject('site-1.mqtt_A./'), undefined);
    assert.equal(prefixed.decodeSubject('site-1.mqtt_A.'), undefined);
  });

  test('empty tokens, odd slashes, lower-case or needless escapes are no topics', () => {
    const strange = [
      '.',
      '.a',
      'a.',
      'a..b',
      'a/',
      '/a',
      'a/b',
      '///',
      'a./.',
      '/2a',
      '/2E',
      '/2F',
      '/2B',
      '/23',
      '/41',
      '/00',
      '/4',
      '/80',
      'a///',
    ];
    for (const subject of strange) assert.equal(bare.decodeSubject(subject), undefined, subject);
  });

  test('subjects outside the prefix are no topics', () => {
    for (const subject of ['a', 'site-1', 'site-1.mqtt_A', 'site-1.mqtt_Ab.c', 'site-1.mqtt.a', 'x.site-1.mqtt_A.a'])
      assert.equal(prefixed.decodeSubject(subject), undefined, subject);
  });

  test('[MQTT5 4.7.2-1] [MQTT311 4.7.2-1] what wildcards may not see is recognised by its first token', () => {
    const hidden = ['$', '$SYS.a', '$JS.API.INFO', '$KV.x', '_INBOX', '_INBOX.abc.1'];
    const open = ['a', 'a.$SYS', '_INBOXES.a', '_INBO.X', '_INBOX/20.a', '/.$x', '_', 'é'];
    for (const [map, prefix] of [
      [bare, ''],
      [prefixed, 'site-1.mqtt_A.'],
    ] as const) {
      for (const subject of hidden) assert.equal(map.startsWithHidden(prefix + subject), true, subject);
      for (const subject of open) assert.equal(map.startsWithHidden(prefix + subject), false, subject);
    }
  });

  test('inboxes under a prefix of their own are hidden beside the usual ones, and only they', () => {
    const own = new SubjectMap('', '_INBOX_edge.a');
    for (const subject of ['_INBOX_edge', '_INBOX_edge.a.1', '_INBOX_edge.b', '_INBOX.a', '$JS.API.INFO'])
      assert.equal(own.startsWithHidden(subject), true, subject);
    const other = new SubjectMap('', 'answers');
    for (const subject of ['answers', 'answers.1', '_INBOX.1', '$KV.x'])
      assert.equal(other.startsWithHidden(subject), true);
    for (const subject of ['answer.s', 'a', '_a']) assert.equal(other.startsWithHidden(subject), false);
    for (const subject of ['_INBOX_edges.a', '_INBOX_edg.a', 'a._INBOX_edge', 'a'])
      assert.equal(own.startsWithHidden(subject), false, subject);
  });
});

describe('filters', () => {
  const fixtures: Array<[filter: string, subjects: readonly string[]]> = [
    ['a/b', ['a.b']],
    ['+', ['*']],
    ['/+', ['/.*']],
    ['+/', ['*./']],
    ['foo/+/bar', ['foo.*.bar']],
    ['foo//+', ['foo./.*']],
    ['#', ['>']],
    ['a/#', ['a.>', 'a']],
    ['+/#', ['*.>', '*']],
    ['a//#', ['a./.>', 'a./']],
    ['a.b/#', ['a//b.>', 'a//b']],
    ['*/>/+/#', ['/2A./3E.*.>', '/2A./3E.*']],
    ['$SYS/#', ['$SYS.>', '$SYS']],
    // its parent would be the empty topic
    ['/#', ['/.>']],
    ['//#', ['/./.>', '/./']],
  ];

  test('[MQTT5 4.7.1-1] [MQTT311 4.7.1-2] fixtures: `#` needs its parent too', () => {
    for (const [filter, subjects] of fixtures) {
      assert.deepEqual(bare.encodeFilter(filter), subjects, filter);
      assert.deepEqual(
        prefixed.encodeFilter(filter),
        subjects.map((subject) => `site-1.mqtt_A.${subject}`),
        filter,
      );
    }
  });

  test('NATS matches the subjects exactly as MQTT matches the topics, each message by one subject of a filter', () => {
    const random = randomNumbers(3);
    const levels = ['', 'a', 'b', '.', '*', '>', 'a b', '$x', '20'];
    const level = (): string => levels[random(levels.length)] ?? '';
    let matches = 0;
    for (let i = 0; i < 100_000; i++) {
      const path = Array.from({ length: 1 + random(4) }, level);
      const topic = path.join('/');
      const wanted = path.map((own) => (random(3) === 0 ? '+' : random(6) === 0 ? level() : own));
      if (random(3) === 0) wanted.splice(random(path.length + 1), path.length, '#');
      const filter = wanted.join('/');
      if (!isTopicName(topic) || !isTopicFilter(filter) || topic.startsWith('$')) continue;
      const subject = encode(bare, topic);
      const count = bare.encodeFilter(filter)?.filter((pattern) => natsMatches(pattern, subject)).length;
      if (count !== (topicMatches(filter, topic) ? 1 : 0)) assert.fail(`${filter} and ${topic}: ${count}`);
      matches += count;
    }
    assert.ok(matches > 30_000 && matches < 70_000, `${matches} matches`);
  });
});

describe('caps', () => {
  test('[MQTT5 4.7.3-3] [MQTT311 4.7.3-3] a subject is at most 3,000 bytes, prefix and escapes included, counted as UTF-8', () => {
    assert.equal(MAX_SUBJECT_BYTES, 3_000);
    const rows: Array<[map: SubjectMap, topic: string, longer: string]> = [
      [bare, 'a'.repeat(3_000), 'a'.repeat(3_001)],
      [prefixed, 'a'.repeat(2_986), 'a'.repeat(2_987)],
      [bare, '日'.repeat(1_000), '日'.repeat(1_001)],
      [bare, '🦆'.repeat(750), `${'🦆'.repeat(750)}a`],
      [bare, ' '.repeat(1_000), ' '.repeat(1_001)],
      [bare, '.'.repeat(1_500), '.'.repeat(1_501)],
    ];
    for (const [map, topic, longer] of rows) {
      const subject = encode(map, topic);
      assert.equal(Buffer.byteLength(subject), 3_000);
      assert.equal(map.decodeSubject(subject), topic);
      assert.equal(map.encodeTopic(longer), undefined);
      assert.equal(map.encodeFilter(longer), undefined);
      assert.equal(map.decodeSubject(`${subject}a`), undefined);
    }
    assert.deepEqual(bare.encodeFilter(`${'a'.repeat(2_998)}/#`)?.length, 2);
    assert.equal(bare.encodeFilter(`${'a'.repeat(2_999)}/#`), undefined);
  });

  test('a topic has at most 256 levels, the prefix not counted', () => {
    assert.equal(MAX_LEVELS, 256);
    for (const map of [bare, prefixed]) {
      for (const level of ['', 'a', 'level']) {
        const topic = Array.from({ length: 256 }, () => level).join('/');
        assert.equal(map.decodeSubject(encode(map, topic)), topic);
        assert.equal(map.encodeTopic(`${topic}/a`), undefined);
        assert.equal(map.encodeFilter(`${topic}/+`), undefined);
        assert.equal(map.decodeSubject(`${encode(map, topic)}.a`), undefined);
      }
    }
  });

  test('topics of 65,535 bytes are refused, not worked on', () => {
    for (const topic of ['a', '/', '.', ' '].map((character) => character.repeat(65_535))) {
      assert.equal(bare.encodeTopic(topic), undefined);
      assert.equal(bare.encodeFilter(topic), undefined);
      assert.equal(bare.decodeSubject(topic), undefined);
    }
  });
});

describe('prefix', () => {
  test('tokens of letters, digits, `-` and `_` are taken, anything else is refused', () => {
    for (const prefix of ['', 'a', 'A-1_b', 'a.b.c', '0']) assert.doesNotThrow(() => new SubjectMap(prefix));
    for (const prefix of ['.', 'a.', '.a', 'a..b', '*', 'a.>', '$SYS', 'a b', 'a/b', 'é', 'a\n', '\0', ' '])
      assert.throws(() => new SubjectMap(prefix), /not a subject prefix/, JSON.stringify(prefix));
  });
});

describe('queue groups', () => {
  const safeGroup = /^[^\x00-\x20\x7f]+$/;

  test('ordinary names are themselves, so that a NATS application joins by the same name', () => {
    const names = [
      'x',
      '**123++',
      '*',
      '>',
      '.',
      'a.b',
      '$',
      '_sys',
      '_SYS_',
      '_sys_x',
      'é-日本',
      '🦆',
      'n'.repeat(300),
      'n'.repeat(512),
    ];
    for (const name of names) assert.equal(encodeGroup(name), name);
  });

  test('names that NATS cannot carry are encoded', () => {
    const rows: Array<[name: string, group: string]> = [
      ['_sys_', '%5Fsys_'],
      ['two words', 'two%20words'],
      ['\t\r\n\x01\x7f', '%09%0D%0A%01%7F'],
      ['50%', '50%25'],
      ['%20', '%2520'],
      ['%5Fsys_', '%255Fsys_'],
    ];
    for (const [name, group] of rows) assert.equal(encodeGroup(name), group);
  });

  test('names too long for a protocol line become short, and stay different', () => {
    const long = [
      'n'.repeat(513),
      'n'.repeat(514),
      'n'.repeat(65_000),
      ' '.repeat(171),
      ' '.repeat(172),
      '日'.repeat(171),
      '🦆'.repeat(200),
    ];
    const groups = new Set(long.map(encodeGroup));
    assert.equal(groups.size, long.length);
    for (const group of groups) {
      assert.ok(safeGroup.test(group) && group.length < 100, group);
      assert.notEqual(encodeGroup(group), group, 'the short form of a long name is not the name of another group');
    }
    assert.equal(encodeGroup('日'.repeat(170)), '日'.repeat(170));
  });

  test('every short name has a safe group of its own', () => {
    const names = [...strings(['%', '2', '0', '5', 'F', ' ', '_', '\x05'], 5), '_sys_', '%5Fsys_', ' _sys_'];
    const groups = new Set<string>();
    for (const name of names) {
      const group = encodeGroup(name);
      assert.ok(safeGroup.test(group) && group !== '_sys_');
      groups.add(group);
    }
    assert.equal(groups.size, names.length);
  });
});
