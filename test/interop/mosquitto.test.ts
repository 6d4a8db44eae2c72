/** mosquitto_pub and mosquitto_sub, the command-line clients of the field, against two nodes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../support/eventually.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';

const isInstalled = ['mosquitto_pub', 'mosquitto_sub'].every((name) => spawnSync(name, ['--help']).error === undefined);
const skip = isInstalled
  ? false
  : 'mosquitto_pub and mosquitto_sub are not installed (Debian package mosquitto-clients)';

describe('mosquitto clients', { skip }, () => {
  let nats: NatsServerProcess;
  let edges: [EdgeProcess, EdgeProcess];

  before(async () => {
    nats = await startNatsServer();
    const env = { SUPERMQ_NATS_SERVERS: nats.url };
    edges = [await EdgeProcess.start(env), await EdgeProcess.start(env)];
  });
  after(async () => {
    await Promise.all(edges.map((edge) => edge.stop()));
    await nats.stop();
  });

  /** Runs mosquitto_sub until it has `count` messages; resolves once it has subscribed, with its output to wait for. */
  async function subscriber(
    edge: EdgeProcess,
    version: string,
    count: number,
    ...args: string[]
  ): Promise<{ readonly received: Promise<string> }> {
    const before = await edge.metric('supermq_subscriptions');
    const child = spawn('mosquitto_sub', [
      '-h',
      '127.0.0.1',
      '-p',
      String(edge.tcp),
      '-V',
      version,
      '-C',
      String(count),
      '-W',
      '20',
      ...args,
    ]);
    const received = output(child);
    await eventually(async () => (await edge.metric('supermq_subscriptions')) > before, 'mosquitto_sub has subscribed');
    return { received };
  }

  async function publish(edge: EdgeProcess, version: string, ...args: string[]): Promise<void> {
    const child = spawn('mosquitto_pub', ['-h', '127.0.0.1', '-p', String(edge.tcp), '-V', version, ...args]);
    const text = await output(child);
    assert.equal(child.exitCode, 0, text);
  }

  async function output(child: ChildProcess): Promise<string> {
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        text += chunk;
      });
    }
    await once(child, 'close');
    return text;
  }

  for (const [subVersion, pubVersion] of [
    ['mqttv31', 'mqttv5'],
    ['mqttv311', 'mqttv31'],
    ['mqttv5', 'mqttv311'],
    ['mqttv5', 'mqttv5'],
  ] as const) {
    test(`publish with ${pubVersion} on one node, subscribe with ${subVersion} on the other`, async () => {
      const { received } = await subscriber(edges[0], subVersion, 2, '-t', `mosq/${pubVersion}/#`, '-v');
      await publish(edges[1], pubVersion, '-t', `mosq/${pubVersion}/a b`, '-m', 'hello');
      await publish(edges[1], pubVersion, '-t', `mosq/${pubVersion}`, '-n');
      assert.equal(await received, `mosq/${pubVersion}/a b hello\nmosq/${pubVersion} (null)\n`);
    });
  }

  test('MQTT 5 user properties keep their order and their duplicates', async () => {
    const { received } = await subscriber(edges[0], 'mqttv5', 1, '-t', 'mosq/props', '-F', '%P|%C|%p');
    const user = ['b', 'a', 'b'].flatMap((name, i) => ['-D', 'publish', 'user-property', name, String(i)]);
    await publish(
      edges[1],
      'mqttv5',
      '-t',
      'mosq/props',
      '-m',
      'x',
      ...user,
      '-D',
      'publish',
      'content-type',
      'text/plain',
    );
    assert.match(await received, /^b:0 a:1 b:2\|text\/plain\|x/);
  });

  test('1,000 lines from standard input arrive in order', async () => {
    const { received } = await subscriber(edges[0], 'mqttv311', 1_000, '-t', 'mosq/lines');
    const child = spawn('mosquitto_pub', ['-h', '127.0.0.1', '-p', String(edges[1].tcp), '-t', 'mosq/lines', '-l']);
    for (let n = 0; n < 1_000; n++) child.stdin.write(`${n}\n`);
    child.stdin.end();
    await once(child, 'close');
    assert.equal(await received, Array.from({ length: 1_000 }, (_, n) => `${n}\n`).join(''));
  });

  for (const qos of ['1', '2']) {
    test(`mosquitto_pub with QoS ${qos} ends with success, and a persistent session gets the message later`, async () => {
      const common = ['-h', '127.0.0.1', '-V', 'mqttv311', '-t', `mosq/qos${qos}`, '-q', qos];
      const away = ['-c', '-i', `mosq-away-${qos}`, '-p'];
      // -E: subscribe and leave; the session stays.
      const subscribed = spawn('mosquitto_sub', [...common, ...away, String(edges[0].tcp), '-E']);
      assert.equal((await once(subscribed, 'close'))[0], 0);
      const publisher = spawn('mosquitto_pub', [...common, '-p', String(edges[1].tcp), '-m', `stored ${qos}`]);
      assert.equal((await once(publisher, 'close'))[0], 0);
      const subscriber = spawn('mosquitto_sub', [...common, ...away, String(edges[1].tcp), '-C', '1', '-W', '5']);
      let output = '';
      subscriber.stdout.on('data', (chunk) => {
        output += String(chunk);
      });
      assert.equal((await once(subscriber, 'close'))[0], 0);
      assert.equal(output.trim(), `stored ${qos}`);
    });
  }
});
