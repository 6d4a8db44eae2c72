/** SCRAM-SHA-256, the server's side: the example of RFC 7677, what is refused and with which code, and what a stranger can learn. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Exchange, Verdict } from '../../../src/auth/authenticator.ts';
import { saslprep } from '../../../src/auth/saslprep.ts';
import { scramLink } from '../../../src/auth/scram.ts';
import { deriveCredentials, makeUserLine, parseUserLine, ScramError } from '../../../src/auth/scram-credentials.ts';
import { parseScramFile } from '../../../src/auth/scram-file.ts';
import { ScramUsers } from '../../../src/auth/scram-users.ts';
import { ScramClient } from '../../support/scram-client.ts';

const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
const pencil = deriveCredentials('pencil', salt, 4096);
const users = new ScramUsers(
  new Map([
    ['user', pencil],
    ['a,b=c', pencil],
    ['other', deriveCredentials('pen', Buffer.alloc(20, 7), 5000)],
  ]),
);

function begin(nonce?: string): Exchange {
  const options = nonce === undefined ? {} : { nonce: () => nonce };
  const exchange = scramLink({ users, requiresMethod: false, ...options }).begin('SCRAM-SHA-256');
  assert.ok(exchange !== undefined);
  return exchange;
}

async function challengeOf(exchange: Exchange, message: Buffer | string): Promise<Buffer> {
  const verdict = await exchange.step(Buffer.from(message));
  assert.ok(verdict.kind === 'continue', JSON.stringify(verdict));
  return verdict.data;
}

function codeOf(verdict: Verdict): number {
  assert.ok(verdict.kind === 'refused', verdict.kind);
  return verdict.reason;
}

async function run(client: ScramClient): Promise<Verdict> {
  const exchange = begin();
  return exchange.step(client.final(await challengeOf(exchange, client.first)));
}

test('scram - the example of RFC 7677, byte by byte', async () => {
  const exchange = begin('%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0');
  const challenge = await challengeOf(exchange, 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
  assert.equal(
    challenge.toString(),
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  );
  const verdict = await exchange.step(
    Buffer.from(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    ),
  );
  assert.ok(verdict.kind === 'success');
  assert.equal(verdict.identity.username, 'user');
  assert.equal(verdict.data?.toString(), 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
});

test('scram - other method names are unknown, also those that differ in case or bind a channel', () => {
  const link = scramLink({ users, requiresMethod: true });
  for (const name of ['SCRAM-SHA-1', 'scram-sha-256', 'SCRAM-SHA-256-PLUS', ''])
    assert.equal(link.begin(name), undefined);
});

test('scram - headers n and y are accepted, the own name to act for too; names are unescaped', async () => {
  for (const header of ['n,,', 'y,,', 'n,a=user,']) {
    assert.equal((await run(new ScramClient('user', 'pencil', { header }))).kind, 'success', header);
  }
  const verdict = await run(new ScramClient('a=2Cb=3Dc', 'pencil'));
  assert.equal(verdict.kind === 'success' && verdict.identity.username, 'a,b=c');
});

test('scram - each exchange has a nonce of its own, of 18 random bytes or more', async () => {
  const nonces = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const text = (await challengeOf(begin(), 'n,,n=user,r=abc')).toString();
    const nonce = /^r=abc([^,]+),/.exec(text)?.[1] ?? '';
    assert.ok(Buffer.from(nonce, 'base64').length >= 18);
    nonces.add(nonce);
  }
  assert.equal(nonces.size, 50);
});

describe('scram - first messages that are refused', () => {
  const cases: Array<[title: string, reason: number, message: string | Buffer]> = [
    ['channel binding', 0x87, 'p=tls-unique,,n=user,r=abc'],
    ['a mandatory extension', 0x87, 'n,,m=x,n=user,r=abc'],
    ['another name to act for', 0x87, 'n,a=other,n=user,r=abc'],
    ['a name with a control character', 0x87, 'n,,n=us\u0007er,r=abc'],
    ['a name with a broken escape', 0x87, 'n,,n=us=er,r=abc'],
    ['no header', 0x82, 'n=user,r=abc'],
    ['an unknown header', 0x82, 'x,,n=user,r=abc'],
    ['no name', 0x82, 'n,,n=,r=abc'],
    ['no nonce', 0x82, 'n,,n=user'],
    ['an empty nonce', 0x82, 'n,,n=user,r='],
    ['no UTF-8', 0x82, Buffer.from([0x6e, 0x2c, 0x2c, 0x6e, 0x3d, 0xff, 0x2c, 0x72, 0x3d, 0x61])],
    ['above 4 KiB', 0x82, `n,,n=user,r=${'a'.repeat(5000)}`],
    ['a password', 0x82, '\0user\0pencil'],
  ];
  for (const [title, reason, message] of cases) {
    test(title, async () => assert.equal(codeOf(await begin().step(Buffer.from(message))), reason));
  }
});

test('scram - a client without a first message is asked for it, once', async () => {
  const exchange = begin();
  const asked = await exchange.step(undefined);
  assert.ok(asked.kind === 'continue' && asked.data.length === 0);
  assert.equal(codeOf(await exchange.step(undefined)), 0x82);
});

test('scram - a header that somebody has changed on the way is noticed, although the proof is right', async () => {
  const exchange = begin();
  const client = new ScramClient('user', 'pencil', { header: 'y,,' });
  const challenge = await challengeOf(exchange, client.first.toString().replace('y,,', 'n,,'));
  assert.equal(codeOf(await exchange.step(client.final(challenge))), 0x87);
});

describe('scram - final messages that are refused', () => {
  const cases: Array<[title: string, reason: number, spoil: (final: string) => string]> = [
    ['a wrong proof', 0x87, (final) => final.replace(/p=.*/, `p=${Buffer.alloc(32).toString('base64')}`)],
    ['a proof of another length', 0x87, (final) => final.replace(/p=.*/, `p=${Buffer.alloc(31).toString('base64')}`)],
    ['another nonce', 0x87, (final) => final.replace(/r=./, 'r=!')],
    ['another header', 0x87, (final) => final.replace('c=biws', 'c=eSws')],
    ['an extension that the proof does not cover', 0x87, (final) => final.replace(',p=', ',x=1,p=')],
    ['no proof', 0x82, (final) => final.replace(/,p=.*/, '')],
    ['no base64', 0x82, (final) => final.replace(/p=.*/, 'p=====')],
    ['nothing', 0x82, () => ''],
  ];
  for (const [title, reason, spoil] of cases) {
    test(title, async () => {
      const exchange = begin();
      const client = new ScramClient('user', 'pencil');
      const final = client.final(await challengeOf(exchange, client.first)).toString();
      assert.equal(codeOf(await exchange.step(Buffer.from(spoil(final)))), reason);
    });
  }
});

test('scram - an unknown name gets a challenge that looks like those of users and stays the same, and the same refusal', async () => {
  const challenge = async (name: string): Promise<string> =>
    (await challengeOf(begin('n'), `n,,n=${name},r=r`)).toString();
  const shapes = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const text = await challenge(`nobody-${i}`);
    assert.equal(await challenge(`nobody-${i}`), text);
    const [, saltText = '', iterations = ''] = /^r=rn,s=([^,]+),i=(\d+)$/.exec(text) ?? [];
    shapes.add(`${Buffer.from(saltText, 'base64').length}/${iterations}`);
  }
  assert.deepEqual([...shapes].sort(), ['16/4096', '20/5000']);
  assert.notEqual(await challenge('nobody-1'), await challenge('nobody-2'));
  const unknown = await run(new ScramClient('nobody', 'pencil'));
  const wrong = await run(new ScramClient('user', 'pencils'));
  assert.equal(codeOf(unknown), 0x87);
  assert.deepEqual(unknown, wrong);
});

test('scram - names and passwords that look the same are the same; control characters are refused', () => {
  // The examples of RFC 4013 section 3.
  assert.equal(saslprep('I\u00ADX'), 'IX');
  assert.equal(saslprep('user'), 'user');
  assert.equal(saslprep('USER'), 'USER');
  assert.equal(saslprep('\u00AA'), 'a');
  assert.equal(saslprep('\u2168'), 'IX');
  assert.equal(saslprep('\u0007'), undefined);
  assert.equal(saslprep('a\u00A0b'), 'a b');
  for (const text of ['', '\u00AD', '\uE000', '\uFFFE', '\uD800', '\u2028', '\u{E0041}', '\u202E'])
    assert.equal(saslprep(text), undefined, JSON.stringify(text));
});

describe('scram - lines of the file of users', () => {
  const line =
    'user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=';

  test('a line of RFC 5803 is read, one that was made too', () => {
    const [name, credentials] = parseUserLine(line);
    assert.equal(name, 'user');
    assert.deepEqual(credentials, pencil);
    const [made] = parseUserLine(makeUserLine('a:b c\u2168', 'pencil'));
    assert.equal(made, 'a:b cIX');
    assert.notEqual(makeUserLine('user', 'pencil'), makeUserLine('user', 'pencil'), 'each has a salt of its own');
  });

  test('comments and empty lines are passed over', () => {
    const { users: read } = parseScramFile(`# users\r\n\r\n${line}\r\n  \n#${line}\n`, 'f');
    assert.deepEqual([...read.keys()], ['user']);
    assert.equal(parseScramFile('', 'f').users.size, 0);
  });

  const bad: Array<[title: string, line: string, says: RegExp]> = [
    ['a clear password', 'user:pencil', /is not name:SCRAM/],
    ['another method', line.replace('256$', '1$'), /is not name:SCRAM/],
    ['no name', line.replace('user', ''), /is not name:SCRAM/],
    ['a key that is cut', line.slice(0, -2), /is not name:SCRAM/],
    ['a key of another length', line.replace('wfPLwcE6', ''), /is not name:SCRAM/],
    ['something behind it', `${line} `, /is not name:SCRAM/],
    ['a short salt', line.replace('W22ZaJ0SNY7soEsUEjb6gQ==', 'W22Z'), /salt of 3 bytes/],
    ['few iterations', line.replace('4096', '4095'), /has 4095 iterations/],
    ['many iterations', line.replace('4096', '1000001'), /has 1000001 iterations/],
    ['a name with a control character', line.replace('user', 'us\ter'), /name with characters/],
    ['a short secret', 'unknown-names:SECRET$pencil==', /is not unknown-names:SECRET\$ with 32 random bytes/],
    ['a secret that is no base64', `unknown-names:SECRET$${'!'.repeat(44)}`, /is not unknown-names:SECRET\$/],
    ['no secret', 'unknown-names:SECRET$', /is not unknown-names:SECRET\$/],
    ['a name twice', line, /stands on a line before it/],
  ];
  for (const [title, badLine, says] of bad) {
    test(`${title} is refused with the number of the line and without its content`, () => {
      assert.throws(
        () => parseScramFile(`# first\n${line}\n${badLine}\n`, '/users'),
        (error) => {
          assert.ok(error instanceof ScramError);
          assert.match(error.message, /^auth\.scram\.file \/users: line 3 /);
          assert.match(error.message, says);
          assert.doesNotMatch(error.message, /pencil|wfPLwc|WG5d8|W22Z/);
          return true;
        },
      );
    });
  }

  test('the secret for unknown names is read, once, and is no user', () => {
    const secretLine = `unknown-names:SECRET$${Buffer.alloc(32, 3).toString('base64')}`;
    const read = parseScramFile(`${line}\n${secretLine}\n`, 'f');
    assert.deepEqual([...read.users.keys()], ['user']);
    assert.deepEqual(read.secret, Buffer.alloc(32, 3));
    assert.equal(parseScramFile(line, 'f').secret, undefined);
    assert.throws(() => parseScramFile(`${secretLine}\n${secretLine}\n`, 'f'), /line 2 is a second secret/);
    for (const name of ['unknown-names', 'unknown-names:SECRET$x']) {
      const { users: named } = parseScramFile(line.replace('user', name), 'f');
      assert.deepEqual([...named.keys()], [name]);
    }
  });

  test('names and passwords that cannot be used are refused', () => {
    for (const name of ['', '#a', 'a\nb']) assert.throws(() => makeUserLine(name, 'x'), ScramError);
    for (const password of ['', 'a\u0000b']) assert.throws(() => makeUserLine('a', password), ScramError);
  });
});
