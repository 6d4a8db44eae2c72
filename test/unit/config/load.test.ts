/** Where options come from, what is refused, and in which words. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { readCommandLine } from '../../../src/config/command-line.ts';
import { ConfigError } from '../../../src/config/config.ts';
import { type LoadOptions, loadConfig } from '../../../src/config/load.ts';
import { configurationTable, defaultYaml, printConfig } from '../../../src/config/reference.ts';
import { schema } from '../../../src/config/schema.ts';

const folder = mkdtempSync(join(tmpdir(), 'supermq-config-'));
after(() => rmSync(folder, { recursive: true }));

let files = 0;
function yaml(text: string): string {
  const path = join(folder, `${files++}.yaml`);
  writeFileSync(path, text);
  return path;
}

function problems(options: LoadOptions): string {
  try {
    loadConfig({ env: {}, ...options });
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  throw new Error('the configuration was accepted');
}

function project(path: string): string {
  return fileURLToPath(new URL(`../../../${path}`, import.meta.url));
}

test('config - the defaults are those of the contract', () => {
  const config = loadConfig({ env: {} });
  assert.equal(config.mqtt.tcp.port, 1883);
  assert.equal(config.mqtt.ws.port, 8083);
  assert.equal(config.mqtt.tls.port, 0);
  assert.equal(config.http.port, 11883);
  assert.equal(config.leaseSeconds, 15);
  assert.deepEqual(config.nats.servers, []);
  assert.match(config.node.id, /^.+-[0-9a-f]{6}$/);
  assert.notEqual(loadConfig({ env: {} }).node.id, config.node.id);
});

test('config - the environment wins over the file, the file over the defaults; empty variables count as not set', () => {
  const file = yaml('mqtt:\n  tcp:\n    port: 2000\n  ws:\n    port: 2001\nnats:\n  servers: [nats://a:4222]\n');
  const env = {
    SUPERMQ_MQTT_TCP_PORT: '3000',
    SUPERMQ_HTTP_PORT: '',
    SUPERMQ_NATS_SERVERS: 'nats://b:4222, tls://c:4223 ,d',
  };
  const config = loadConfig({ env, file });
  assert.deepEqual([config.mqtt.tcp.port, config.mqtt.ws.port, config.http.port], [3000, 2001, 11883]);
  assert.deepEqual(config.nats.servers, ['nats://b:4222', 'tls://c:4223', 'd']);
  assert.deepEqual(loadConfig({ env: { SUPERMQ_CONFIG: file } }).nats.servers, ['nats://a:4222']);
});

test('config - server references are hosts, with a port or without', () => {
  const env = {
    SUPERMQ_DRAIN_SERVER_REFERENCE: 'a.example, b:1883 ,[::1],[fe80::1]:65535',
    SUPERMQ_DRAIN_PERMANENT: 'true',
  };
  const { drain } = loadConfig({ env });
  assert.deepEqual(drain, { serverReference: ['a.example', 'b:1883', '[::1]', '[fe80::1]:65535'], permanent: true });
  assert.deepEqual(loadConfig({ env: {} }).drain, { serverReference: [], permanent: false });
});

test('config - the result cannot be changed', () => {
  const config = loadConfig({ env: {} });
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.nats) && Object.isFrozen(config.nats.tls));
});

describe('config - a mistake is a sentence with key, value and what is allowed', () => {
  const cases: Array<[title: string, options: LoadOptions, expected: RegExp]> = [
    [
      'bad number in a variable',
      { env: { SUPERMQ_MQTT_TCP_PORT: 'x1883' } },
      /^mqtt\.tcp\.port from SUPERMQ_MQTT_TCP_PORT is "x1883", but must be a port number from 0 to 65535/,
    ],
    [
      'number out of bounds in a file',
      { file: yaml('leaseSeconds: 1') },
      /^leaseSeconds in .*yaml is 1, but must be a whole number from 5 to 300 \(seconds\)\.$/,
    ],
    [
      'unknown key',
      { file: yaml('mqtt:\n  tcp:\n    prot: 1') },
      /^mqtt\.tcp\.prot in .*yaml is not an option \(did you mean mqtt\.tcp\.port\?\)\.$/,
    ],
    ['unknown section', { file: yaml('bogus:\n  a: 1') }, /^bogus in .*yaml is not an option\.$/],
    [
      'unknown variable',
      { env: { SUPERMQ_MQTT_TCP_PROT: '1' } },
      /^The environment variable SUPERMQ_MQTT_TCP_PROT is not an option \(did you mean SUPERMQ_MQTT_TCP_PORT\?\)\.$/,
    ],
    [
      'wrong choice',
      { env: { SUPERMQ_LOG_LEVEL: 'loud' } },
      /log\.level from SUPERMQ_LOG_LEVEL is "loud", but must be one of trace, debug/,
    ],
    ['bad URL', { env: { SUPERMQ_NATS_SERVERS: 'http://x' } }, /nats\.servers .* but must be a list of NATS URLs/],
    ['bad prefix', { env: { SUPERMQ_NATS_TOPIC_PREFIX: 'a..b' } }, /nats\.topicPrefix .* separated by dots/],
    ['broken YAML', { file: yaml('a: [1') }, /is not valid YAML \(\w+, line 1\)\.$/],
    ['alias that quotes a secret', { file: yaml('nats:\n  password: *hush') }, /^(?!.*hush).*is not valid YAML/],
    [
      'credentials in a URL',
      { env: { SUPERMQ_NATS_SERVERS: 'nats://u:hush@h' } },
      /^(?!.*hush).*"nats:\/\/\[redacted\]@h".*see nats\.user/,
    ],
    ['empty entry in a list', { env: { SUPERMQ_NATS_SERVERS: ',' } }, /nats\.servers from SUPERMQ_NATS_SERVERS is ","/],
    ['prefix of NATS itself', { env: { SUPERMQ_NATS_TOPIC_PREFIX: '_INBOX.x' } }, /first one not _INBOX/],
    [
      'inboxes among the topics',
      { env: { SUPERMQ_NATS_TOPIC_PREFIX: 'mqtt.a', SUPERMQ_NATS_INBOX_PREFIX: 'mqtt.b' } },
      /nats\.topicPrefix and nats\.inboxPrefix both begin with mqtt/,
    ],
    ['wildcard for inboxes', { env: { SUPERMQ_NATS_INBOX_PREFIX: 'a.*' } }, /nats\.inboxPrefix .* separated by dots/],
    [
      'HTTP port on a listener',
      { env: { SUPERMQ_HTTP_PORT: '1883', SUPERMQ_WORKERS: '2', SUPERMQ_NATS_SERVERS: 'a' } },
      /http\.port and mqtt\.tcp\.port are both 1883/,
    ],
    [
      'neither a number of workers nor auto',
      { env: { SUPERMQ_WORKERS: 'all' } },
      /^workers from SUPERMQ_WORKERS is "all", but must be a whole number from 1 to 64, or auto\.$/,
    ],
    [
      'folder in place of a file',
      { env: { SUPERMQ_NATS_CREDS_FILE: '/tmp' } },
      /nats\.credsFile is \/tmp, which cannot be read/,
    ],
    ['QoS 3', { env: { SUPERMQ_MQTT_MAXIMUM_QOS: '3' } }, /mqtt\.maximumQos .* must be a whole number from 0 to 2/],
    [
      'wildcard in Response Information',
      { env: { SUPERMQ_MQTT_RESPONSE_INFORMATION: 'a/+' } },
      /mqtt\.responseInformation .* "a\/\+", but must be a topic without \+ and #/,
    ],
    [
      'Response Information behind the walls',
      { env: { SUPERMQ_MQTT_RESPONSE_INFORMATION: '_INBOX/%c' } },
      /mqtt\.responseInformation .* must be a topic without \+ and #, not below \$ or _INBOX/,
    ],
    [
      'white space in a server reference',
      { file: yaml('drain:\n  serverReference: [a b]') },
      /drain\.serverReference .* must be a list of host or host:port/,
    ],
    ['port 0 in a server reference', { env: { SUPERMQ_DRAIN_SERVER_REFERENCE: 'a:0' } }, /drain\.serverReference/],
    ['bare IPv6 address', { env: { SUPERMQ_DRAIN_SERVER_REFERENCE: '::1' } }, /drain\.serverReference/],
    ['empty server reference', { env: { SUPERMQ_DRAIN_SERVER_REFERENCE: 'a,' } }, /drain\.serverReference/],
    [
      'too many server references',
      { file: yaml(`drain:\n  serverReference: [${Array.from({ length: 300 }, () => 'x'.repeat(255)).join(', ')}]`) },
      /drain\.serverReference is longer than 65535 bytes/,
    ],
    ['moved, but not where to', { env: { SUPERMQ_DRAIN_PERMANENT: 'true' } }, /^drain\.permanent is true without/],
    ['a burst of no rate', { env: { SUPERMQ_LIMITS_CONNECT_BURST: '5' } }, /^limits\.connectBurst is set without/],
    ['no mapping', { file: yaml('- 1') }, /must contain keys and values/],
    ['missing file', { file: '/does/not/exist.yaml' }, /cannot be read: .*ENOENT/],
    [
      'secret of the wrong type',
      { file: yaml('nats:\n  user: u\n  password: 12345') },
      /^nats\.password in .*yaml has a value that is not shown here, but must be a text\.$/,
    ],
    ['TLS port without certificate', { env: { SUPERMQ_MQTT_TLS_PORT: '8883' } }, /need tls\.cert and tls\.key/],
    ['workers without NATS', { env: { SUPERMQ_WORKERS: '2' } }, /^workers is 2, but workers meet through NATS only/],
    [
      'two listeners on one port',
      { env: { SUPERMQ_MQTT_WS_PORT: '1883' } },
      /mqtt\.ws\.port and mqtt\.tcp\.port are both 1883/,
    ],
    ['no listener', { env: { SUPERMQ_MQTT_TCP_PORT: '0', SUPERMQ_MQTT_WS_PORT: '0' } }, /All MQTT listeners are off/],
    [
      'two kinds of credentials',
      { env: { SUPERMQ_NATS_USER: 'u', SUPERMQ_NATS_TOKEN: 't' } },
      /nats\.user and nats\.token are set/,
    ],
    ['password without user', { env: { SUPERMQ_NATS_PASSWORD: 'p' } }, /^nats\.password is set without nats\.user/],
    [
      'file that is not there',
      { env: { SUPERMQ_NATS_CREDS_FILE: '/does/not/exist' } },
      /nats\.credsFile is \/does\/not\/exist, which cannot be read/,
    ],
  ];
  for (const [title, options, expected] of cases) test(title, () => assert.match(problems(options), expected));

  test('all problems are told at once', () => {
    const text = problems({ env: { SUPERMQ_LOG_LEVEL: 'loud', SUPERMQ_WORKERS: '0', SUPERMQ_NATS_PASSWORD: 'hush' } });
    assert.equal(text.split('\n').length, 3);
    assert.doesNotMatch(text, /hush/);
  });
});

test('config - sections without content, empty unknown variables and Kubernetes service links change nothing', () => {
  const env = {
    SUPERMQ_BOGUS: '',
    SUPERMQ_SERVICE_HOST: '10.0.0.1',
    SUPERMQ_SERVICE_PORT_MQTT: '1883',
    SUPERMQ_PORT: 'tcp://10.0.0.1:1883',
    SUPERMQ_PORT_1883_TCP_ADDR: '10.0.0.1',
    SUPERMQ_HTTP_PORT: 'tcp://10.0.0.2:80',
  };
  const { node: _node, ...config } = loadConfig({ env, file: yaml('tls:\n  # cert: x\nmqtt:\n  tcp:\n    port:\n') });
  const { node: _other, ...defaults } = loadConfig({ env: {} });
  assert.deepEqual(config, defaults);
});

test('config - every option refuses what its format does not allow, from the environment', () => {
  for (const { env, format, key } of schema) {
    if (format.allowed === 'a text' || format.allowed.startsWith('the path')) continue;
    assert.match(
      problems({ env: { [env]: ' \u0000 not allowed ' } }),
      new RegExp(`^${key.replaceAll('.', '\\.')} from ${env} `, 'm'),
      env,
    );
  }
});

test('config - every option has a doc sentence and a default that it allows itself', () => {
  for (const { default: fallback, doc, env, format, key } of schema) {
    assert.match(doc, /^[A-Z/].*\.$/, key);
    assert.match(env, /^SUPERMQ_[A-Z_]+$/);
    assert.deepEqual(format.read(fallback), fallback, key);
  }
});

test('config - docs/configuration.md and config/default.yaml are those of the schema (npm run docs:config)', () => {
  assert.ok(readFileSync(project('docs/configuration.md'), 'utf8').includes(configurationTable()));
  assert.equal(readFileSync(project('config/default.yaml'), 'utf8'), defaultYaml());
});

test('config - the files in config/ load, and default.yaml changes nothing', () => {
  const { node: _node, ...defaults } = loadConfig({ env: {} });
  const { node: _other, ...loaded } = loadConfig({ env: {}, file: project('config/default.yaml') });
  assert.deepEqual(loaded, defaults);
  assert.deepEqual(loadConfig({ env: {}, file: project('config/example-production.yaml') }).nats.replicas, 3);
  assert.equal(loadConfig({ env: {}, file: project('config/development.yaml') }).log.level, 'debug');
});

test('config - auto is a worker per core, in the environment and in a file', () => {
  const expected = Math.min(availableParallelism(), 64);
  const env = { SUPERMQ_NATS_SERVERS: 'a' };
  assert.equal(loadConfig({ env: { ...env, SUPERMQ_WORKERS: 'auto' } }).workers, expected);
  assert.equal(loadConfig({ env, file: yaml('workers: auto') }).workers, expected);
  assert.equal(loadConfig({ env, file: yaml('workers: 3') }).workers, 3);
});

test('config - the command line: help, version, print-config without secrets, unknown arguments', () => {
  const print = (...args: string[]): string => {
    const env = {
      SUPERMQ_NATS_SERVERS: 'nats://a:4222',
      SUPERMQ_NATS_USER: 'u',
      SUPERMQ_NATS_PASSWORD: 'hush',
    };
    const command = readCommandLine(args, '1.2.3', env);
    return command.kind === 'print' ? command.text : '';
  };
  assert.equal(print('--version'), '1.2.3\n');
  for (const { env } of schema) assert.ok(print('--help').includes(env));
  assert.match(print('--print-config'), /password: "?\[redacted\]/);
  assert.doesNotMatch(print('--print-config'), /hush/);
  assert.throws(() => readCommandLine(['--bogus'], '1', {}), ConfigError);
  const run = readCommandLine([], '1', {});
  assert.equal(run.kind === 'run' && run.config.mqtt.tcp.port, 1883);
});

test('config - several workers: what their limits allow together is shown, without those that are off, and can be read again', () => {
  const env = {
    SUPERMQ_NATS_SERVERS: 'nats://a:4222',
    SUPERMQ_WORKERS: '3',
    SUPERMQ_LIMITS_MAX_CONNECTIONS: '500',
    SUPERMQ_LIMITS_CONNECTS_PER_SECOND_PER_ADDRESS: '7',
  };
  const shown = printConfig(loadConfig({ env }));
  const notes = shown.split('\n').filter((line) => line.startsWith('#'));
  assert.match(notes[0] ?? '', /Each of the 3 workers/);
  assert.ok(notes.includes('#   limits.maxConnections: 1500'), shown);
  assert.ok(notes.includes('#   limits.connectsPerSecondPerAddress: 21'), shown);
  assert.doesNotMatch(notes.join(), /maxConnectionsPerAddress|jail|connectBurst/);
  const jail = { ...env, SUPERMQ_LIMITS_JAIL_SECONDS: '60', SUPERMQ_LIMITS_JAIL_FAILURES: '10' };
  assert.match(printConfig(loadConfig({ env: jail })), /^# {3}limits\.jailFailures: 30$/m);
  assert.equal(parse(shown).limits.maxConnections, 500);
  assert.doesNotMatch(printConfig(loadConfig({ env: { ...env, SUPERMQ_WORKERS: '1' } })), /^#/m);
});

test('config - a group outlives a node that dies with its last messages', () => {
  const env = { SUPERMQ_LEASE_SECONDS: '20', SUPERMQ_GROUPS_RETENTION_SECONDS: '59' };
  assert.throws(() => loadConfig({ env }), /^ConfigError: groups\.retentionSeconds is 59, .* set it to 60 or more\.$/);
  assert.equal(loadConfig({ env: { ...env, SUPERMQ_GROUPS_RETENTION_SECONDS: '60' } }).groups.retentionSeconds, 60);
});

test('config - auth.scram.required needs users, and their file must be there', () => {
  assert.match(
    problems({ env: { SUPERMQ_AUTH_SCRAM_REQUIRED: 'true' } }),
    /auth\.scram\.required is true without auth\.scram\.file/,
  );
  assert.match(
    problems({ env: { SUPERMQ_AUTH_SCRAM_FILE: '/none/users' } }),
    /auth\.scram\.file is \/none\/users, which cannot be read/,
  );
});

test('config - scram-user names one user, scram-secret nobody', () => {
  assert.deepEqual(readCommandLine(['scram-user', 'ann'], '1', {}), { kind: 'scram-user', name: 'ann' });
  for (const args of [[], ['--help'], ['a', 'b']])
    assert.throws(() => readCommandLine(['scram-user', ...args], '1', {}), ConfigError);
  assert.deepEqual(readCommandLine(['scram-secret'], '1', {}), { kind: 'scram-secret' });
  assert.throws(() => readCommandLine(['scram-secret', 'ann'], '1', {}), ConfigError);
});

test('config - balancers are addresses and networks, a Unix socket has an octal mode and can be the only listener', () => {
  const trusted = (value: string): LoadOptions => ({ env: { SUPERMQ_MQTT_PROXY_PROTOCOL_TRUSTED: value } });
  const listed = '10.0.0.1, 192.0.2.0/24,2001:db8::/32';
  assert.deepEqual(loadConfig(trusted(listed)).mqtt.proxyProtocol.trusted, listed.split(/, ?/));
  for (const bad of ['balancer', '10.0.0.0/33', '10.0.0/8', '2001:db8::/129', '10.0.0.1/', '10.0.0.1,,10.0.0.2'])
    assert.match(problems(trusted(bad)), /mqtt\.proxyProtocol\.trusted .* must be a list of IP addresses/, bad);
  for (const bad of ['888', '66', 'rw-rw----'])
    assert.match(problems({ env: { SUPERMQ_MQTT_UNIX_MODE: bad } }), /must be an octal mode in quotes/);
  const off = { SUPERMQ_MQTT_TCP_PORT: '0', SUPERMQ_MQTT_WS_PORT: '0' };
  assert.match(problems({ env: off }), /All MQTT listeners are off/);
  assert.equal(loadConfig({ env: { ...off, SUPERMQ_MQTT_UNIX_PATH: '/run/mqtt.sock' } }).mqtt.unix.mode, '660');
});

test('config - a list of revoked certificates needs their authorities, and must be there', () => {
  const text = problems({ env: { SUPERMQ_TLS_CRL: '/none/crl.pem' } });
  assert.match(text, /tls\.crl is set without tls\.ca/);
  assert.match(text, /tls\.crl is \/none\/crl\.pem, which cannot be read/);
});

test('config - limits.exemptAddresses takes addresses and networks, and nothing else', () => {
  const exempt = (text: string): readonly string[] =>
    loadConfig({ env: { SUPERMQ_LIMITS_EXEMPT_ADDRESSES: text } }).limits.exemptAddresses;
  assert.deepEqual(exempt('192.0.2.1, 10.0.0.0/8,2001:db8::/32'), ['192.0.2.1', '10.0.0.0/8', '2001:db8::/32']);
  assert.deepEqual(exempt(''), []);
  for (const wrong of ['example.org', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '::/129', '10.0.0', 'fe80::1%eth0'])
    assert.throws(() => exempt(wrong), /SUPERMQ_LIMITS_EXEMPT_ADDRESSES/, wrong);
});
