/** Secrets from files: every secret option has one, its value is the same as said directly, and nothing of it is shown. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError } from '../../../src/config/config.ts';
import { type LoadOptions, loadConfig } from '../../../src/config/load.ts';
import { printConfig } from '../../../src/config/reference.ts';
import { schema } from '../../../src/config/schema.ts';

const folder = mkdtempSync(join(tmpdir(), 'supermq-secrets-'));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function problems(options: LoadOptions): string {
  try {
    loadConfig(options);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return assert.fail('was accepted');
}

test('secrets - each can come from a file, named in the environment or in the configuration file', () => {
  const secrets = schema.filter(({ isSecret }) => isSecret);
  assert.ok(secrets.length >= 2);
  for (const { env, key } of secrets) {
    const path = file('missing-on-purpose', '');
    const expected = new RegExp(`${path}, which is empty`);
    assert.match(problems({ env: { [`${env}_FILE`]: path } }), expected, env);
    const parts = `${key}File`.split('.');
    const yaml = parts.map((part, depth) => `${'  '.repeat(depth)}${part}:`).join('\n');
    assert.match(problems({ env: {}, file: file('secret.yaml', `${yaml} ${path}\n`) }), expected, key);
  }
});

test('secrets - one line feed at the end of the file is no part of the value, everything else is', () => {
  for (const [content, value] of [
    ['hush', 'hush'],
    ['hush\n', 'hush'],
    ['hush\r\n', 'hush'],
    ['hush\n\n', 'hush\n'],
    [' hu sh ', ' hu sh '],
  ] as const) {
    const path = file('password', content);
    const env = { SUPERMQ_NATS_USER: 'ann', SUPERMQ_NATS_PASSWORD_FILE: path };
    assert.equal(loadConfig({ env }).nats.password, value);
    const yaml = file('config.yaml', `nats:\n  user: ann\n  passwordFile: ${path}\n`);
    assert.equal(loadConfig({ env: {}, file: yaml }).nats.password, value);
    assert.doesNotMatch(printConfig(loadConfig({ env })), /hu ?sh/);
  }
});

test('secrets - the environment wins over the file, whichever way either says it', () => {
  const [inFile, inEnvironment] = [file('in-file', 'a'), file('in-environment', 'b')];
  const yaml = file('config.yaml', `nats:\n  tokenFile: ${inFile}\n`);
  assert.equal(loadConfig({ env: {}, file: yaml }).nats.token, 'a');
  assert.equal(loadConfig({ env: { SUPERMQ_NATS_TOKEN_FILE: inEnvironment }, file: yaml }).nats.token, 'b');
  assert.equal(loadConfig({ env: { SUPERMQ_NATS_TOKEN: 'c' }, file: yaml }).nats.token, 'c');
  const empty = file('empty.yaml', 'nats:\n  tokenFile:\n  passwordFile: ""\n');
  assert.equal(loadConfig({ env: {}, file: empty }).nats.token, '');
});

test('secrets - a mistake is a sentence without the value', () => {
  const path = file('token', 'hush');
  const cases: ReadonlyArray<[LoadOptions, RegExp]> = [
    [
      { env: { SUPERMQ_NATS_TOKEN_FILE: path, SUPERMQ_NATS_TOKEN: 'hush' } },
      /^nats\.token is set itself and by a file .*: remove one of them\.$/,
    ],
    [
      { env: {}, file: file('twice.yaml', `nats:\n  token: hush\n  tokenFile: ${path}\n`) },
      /^nats\.token is set itself and by a file/,
    ],
    [
      { env: { SUPERMQ_NATS_TOKEN_FILE: join(folder, 'none') } },
      /^SUPERMQ_NATS_TOKEN_FILE is .*none, which cannot be read \(ENOENT\)/,
    ],
    [{ env: { SUPERMQ_NATS_TOKEN_FILE: folder } }, /cannot be read \(EISDIR\)/],
    [
      { env: { SUPERMQ_NATS_TOKEN_FILE: file('large', 'hush'.repeat(20_000)) } },
      /large, which has more than 65536 bytes/,
    ],
    [
      { env: {}, file: file('list.yaml', 'nats:\n  tokenFile: [hush]\n') },
      /nats\.tokenFile in .* must be the path of a file/,
    ],
    [{ env: { SUPERMQ_NATS_TOKEN_FIL: 'x' } }, /did you mean SUPERMQ_NATS_TOKEN_FILE/],
  ];
  for (const [options, expected] of cases) {
    assert.match(problems(options), expected);
    assert.doesNotMatch(problems(options), /hush/);
  }
});
