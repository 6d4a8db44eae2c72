/** access/authorizer.ts with rules of a file and of credentials: whom they are about, which one decides, what names may stand for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAclEntries } from '../../../src/access/acl-entries.ts';
import { type AccessClient, Authorizer } from '../../../src/access/authorizer.ts';
import type { ClientAccess } from '../../../src/access/client-access.ts';
import { publishBit } from '../../../src/access/compiled-rule.ts';
import { readRules } from '../../../src/access/rule.ts';

const ann: AccessClient = { clientId: 'c1', username: 'ann', groups: ['staff'], rules: undefined };
const nobody: AccessClient = { clientId: 'c2', username: '', groups: [], rules: undefined };

function accessOf(file: string, client: AccessClient, noMatch: 'auto' | 'allow' | 'deny' = 'auto'): ClientAccess {
  const entries = parseAclEntries(file);
  const access = new Authorizer({ noMatch, entries: () => entries }).accessOf(client);
  assert.ok(access !== undefined);
  return access;
}

function mayPublish(access: ClientAccess, topic: string, qos: 0 | 1 | 2 = 0, retain = false): boolean {
  return access.mayPublish(topic, publishBit(qos, retain));
}

/** One entry for everybody with these rules. */
function everybody(...rules: string[]): string {
  return `- rules:\n${rules.map((rule) => `    - ${rule}\n`).join('')}`;
}

test('authorizer - without rules there is nothing to ask', () => {
  assert.equal(new Authorizer({ noMatch: 'auto' }).accessOf(ann), undefined);
  assert.equal(new Authorizer({ noMatch: 'allow' }).accessOf(ann), undefined);
  const denied = new Authorizer({ noMatch: 'deny' }).accessOf(ann);
  assert.equal(denied?.subscribeQos('a'), undefined);
});

test('authorizer - rules of the credentials come first, and what they leave open is denied unless the default says otherwise', () => {
  const client = {
    ...ann,
    rules: readRules([
      { deny: 'publish', filter: 'a/b' },
      { allow: 'all', filter: 'own/#' },
    ]),
  };
  const alone = new Authorizer({ noMatch: 'auto' }).accessOf(client);
  assert.ok(alone !== undefined);
  assert.ok(mayPublish(alone, 'own/x') && !mayPublish(alone, 'other'));
  const both = accessOf(everybody('{ allow: publish, filter: "a/#" }'), client);
  assert.ok(mayPublish(both, 'a/c') && !mayPublish(both, 'a/b') && mayPublish(both, 'own/x'));
  const open = new Authorizer({ noMatch: 'allow' }).accessOf(client);
  assert.ok(open !== undefined && mayPublish(open, 'other') && !mayPublish(open, 'a/b'));
});

test('authorizer - an entry is about those whom all of its who fits', () => {
  const cases: Array<[who: string, ofAnn: boolean, ofNobody: boolean]> = [
    ['{ user: ann }', true, false],
    ['{ user: ben }', false, false],
    ['{ user: "*" }', true, false],
    ['{ group: staff }', true, false],
    ['{ group: "*" }', true, false],
    ['{ group: guests }', false, false],
    ['{ clientId: c2 }', false, true],
    ['{ clientId: "*" }', true, true],
    ['{ anonymous: true }', false, true],
    ['{ anonymous: false }', true, false],
    ['{ user: ann, clientId: c2 }', false, false],
    ['{ user: ann, clientId: c1, group: staff }', true, false],
    ['{}', true, true],
  ];
  for (const [who, ofAnn, ofNobody] of cases) {
    const file = `- { who: ${who}, rules: [{ allow: all, filter: a }] }`;
    assert.equal(mayPublish(accessOf(file, ann), 'a'), ofAnn, who);
    assert.equal(mayPublish(accessOf(file, nobody), 'a'), ofNobody, who);
  }
});

test('authorizer - the entries that fit are tried in the order of the file, however they are found', () => {
  const file = `
- { who: { group: staff }, rules: [{ deny: all, filter: a/1 }] }
- rules: [{ allow: all, filter: a/1 }, { allow: all, filter: a/2 }]
- { who: { user: ann }, rules: [{ deny: all, filter: a/2 }, { allow: all, filter: a/3 }] }
- rules: [{ deny: all, filter: a/3 }]
`;
  const access = accessOf(file, ann);
  assert.deepEqual(
    ['a/1', 'a/2', 'a/3'].map((topic) => mayPublish(access, topic)),
    [false, true, true],
  );
});

test('authorizer - QoS and RETAIN belong to what an allowing rule fits', () => {
  const access = accessOf(
    everybody(
      '{ allow: publish, filter: a, qos: 1, retain: false }',
      '{ allow: subscribe, filter: "s/#", qos: 1 }',
      '{ allow: publish, filter: b, qos: 0 }',
      '{ allow: publish, filter: b, retain: false }',
    ),
    ann,
  );
  const table = (topic: string): boolean[] =>
    ([0, 1, 2] as const).flatMap((qos) => [false, true].map((retain) => mayPublish(access, topic, qos, retain)));
  assert.deepEqual(table('a'), [true, false, true, false, false, false]);
  assert.deepEqual(table('b'), [true, true, true, false, true, false], 'what one rule does not fit, the next one may');
  assert.deepEqual(table('s/x'), [false, false, false, false, false, false]);
  assert.equal(access.subscribeQos('s/x'), 1);
  assert.equal(access.subscribeQos('a'), undefined);
});

test('authorizer - a filter is granted when one rule covers it and refused when a denial before touches it', () => {
  const access = accessOf(everybody('{ deny: subscribe, filter: a/secret }', '{ allow: all, filter: "a/#" }'), ann);
  for (const filter of ['a/b', 'a/b/#', 'a/+/c', 'a']) assert.equal(access.subscribeQos(filter), 2, filter);
  for (const filter of ['a/#', 'a/+', '+/secret', '#', '+', 'b', 'a/secret', '$SYS/#'])
    assert.equal(access.subscribeQos(filter), undefined, filter);
});

test('authorizer - names stand in filters, all at once, and only where they are one level or part of one', () => {
  const rules = everybody('{ allow: all, filter: "d/%c/x%u" }');
  assert.ok(mayPublish(accessOf(rules, ann), 'd/c1/xann'));
  assert.ok(!mayPublish(accessOf(rules, ann), 'd/%c/x%u'));
  assert.ok(mayPublish(accessOf(rules, { ...ann, clientId: '%u' }), 'd/%u/xann'));
  const bad: Array<Partial<AccessClient>> = [
    { clientId: 'a/b' },
    { clientId: '+' },
    { clientId: '#' },
    { username: '' },
  ];
  for (const names of bad) {
    const access = accessOf(rules, { ...ann, ...names });
    for (const filter of ['d/a/b/xann', 'd/+/xann', 'd/#', 'd/z/xann', 'd/c1/x'])
      assert.equal(access.subscribeQos(filter), undefined, `${JSON.stringify(names)} ${filter}`);
  }
  const dollar = accessOf(everybody('{ allow: all, filter: "%c/#" }'), { ...ann, clientId: '$SYS' });
  assert.equal(dollar.subscribeQos('$SYS/#'), undefined);
});

test('authorizer - a denial with a name that has a slash still denies the topics that it names', () => {
  const rules = everybody('{ deny: all, filter: "d/%c/secret" }', '{ allow: all, filter: "d/#" }');
  const access = accessOf(rules, { ...ann, clientId: 'a/b' });
  assert.ok(!mayPublish(access, 'd/a/b/secret'));
  assert.ok(mayPublish(access, 'd/a/secret'));
});

test('authorizer - many topics of one client are remembered within bounds, and decided as if they were not', () => {
  const access = accessOf(everybody('{ allow: publish, filter: "+/even" }'), ann);
  for (let round = 0; round < 3; round++)
    for (let i = 0; i < 1_000; i++)
      assert.equal(mayPublish(access, `${i}/${i % 2 === 0 ? 'even' : 'odd'}`), i % 2 === 0);
});

test('acl entries - what cannot be used is refused, with its place', () => {
  const cases: Array<[string, RegExp]> = [
    ['a: 1', /is not a list of entries/],
    ['- [', /is not valid YAML \(\w+, line 1\)/],
    ['- rules: 1', /^entry 1: rules are not a list/],
    ['- { who: { user: 7 }, rules: [] }', /entry 1: user is no text/],
    ['- { who: { usr: x }, rules: [] }', /entry 1: who has an unknown member "usr"/],
    ['- { who: { user: x, anonymous: true }, rules: [] }', /names a user and is anonymous/],
    ['- { rules: [] }\n- { rule: [] }', /entry 2 has an unknown member "rule"/],
    ['- { rules: [{ allow: all, filter: "a/#/b" }] }', /entry 1: rule 1 has no topic filter/],
    ['- { rules: [{ deny: all, filter: "$share/g/a" }] }', /rule 1 names a group/],
    ['- { rules: [{ deny: publish, filter: a, retain: false }] }', /rule 1 denies, and takes neither/],
  ];
  for (const [text, message] of cases) assert.throws(() => parseAclEntries(text), { name: 'AccessRuleError', message });
});
