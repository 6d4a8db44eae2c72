/** MQTT over a Unix socket: its file, who may connect, and what becomes of a file that was there before. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import mqttPacket from 'mqtt-packet';
import { eventually } from '../support/eventually.ts';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess, startNode } from '../support/node.ts';
import { connectPacket } from '../support/raw-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'supermq-unix-'));
after(() => rmSync(folder, { recursive: true }));

let paths = 0;
function freshPath(): string {
  return join(folder, `${paths++}.sock`);
}

/** Whether CONNECT is answered with success. */
async function connects(path: string): Promise<boolean> {
  const socket = connect({ path });
  socket.on('error', () => {});
  socket.write(mqttPacket.generate(connectPacket({ clientId: 'unix' })));
  const answer = await new Promise<Buffer | undefined>((resolve) => {
    socket.once('data', resolve);
    socket.once('close', () => resolve(undefined));
  });
  socket.destroy();
  return answer?.[0] === 0x20 && answer[3] === 0;
}

test('unix - a client connects; the file has the mode that was asked for, and goes with the node', async () => {
  const path = freshPath();
  const node = await startNode({ SUPERMQ_MQTT_UNIX_PATH: path, SUPERMQ_MQTT_UNIX_MODE: '600' });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.ok(await connects(path));
  assert.deepEqual(Object.keys(node.ports).sort(), ['http', 'tcp', 'ws']);
  await node.stop();
  assert.ok(!existsSync(path));
});

test('unix - it can be the only listener, and its mode is 660 by default', async () => {
  const path = freshPath();
  const node = await startNode({ SUPERMQ_MQTT_UNIX_PATH: path, SUPERMQ_MQTT_TCP_PORT: '0', SUPERMQ_MQTT_WS_PORT: '0' });
  assert.equal(statSync(path).mode & 0o777, 0o660);
  assert.ok(await connects(path));
  await node.stop();
});

test('unix - the file of a killed process is replaced', async () => {
  const path = freshPath();
  const killed = await EdgeProcess.start({ SUPERMQ_MQTT_UNIX_PATH: path });
  await killed.kill();
  assert.ok(existsSync(path));
  const node = await startNode({ SUPERMQ_MQTT_UNIX_PATH: path });
  assert.ok(await connects(path));
  await node.stop();
});

test('unix - a socket that somebody listens on, and what is no socket, stop the start and are left alone', async () => {
  const path = freshPath();
  const node = await startNode({ SUPERMQ_MQTT_UNIX_PATH: path });
  await assert.rejects(startNode({ SUPERMQ_MQTT_UNIX_PATH: path }), /on which another process listens: stop it/);
  assert.ok(await connects(path));
  await node.stop();
  writeFileSync(path, 'precious');
  await assert.rejects(startNode({ SUPERMQ_MQTT_UNIX_PATH: path }), /is no socket: remove it/);
  assert.equal(statSync(path).size, 8);
});

test('unix - workers share it, also one that was started again; a stale file is replaced, a live one stops the start', async () => {
  const path = freshPath();
  const nats = await startNatsServer();
  const env = { SUPERMQ_MQTT_UNIX_PATH: path, SUPERMQ_WORKERS: '2', SUPERMQ_NATS_SERVERS: nats.url };
  const killed = await EdgeProcess.start(env);
  await killed.kill();
  await eventually(async () => !(await connects(path)), 'the workers of the killed primary are gone');
  const edge = await EdgeProcess.start(env);
  assert.ok(existsSync(path));
  assert.equal(statSync(path).mode & 0o777, 0o660);
  for (let n = 0; n < 4; n++) assert.ok(await connects(path));
  const restarts = 'supermq_worker_restarts_total';
  process.kill(Number(/"worker\.started","worker":0,"pid":(\d+)/.exec(edge.output)?.[1] ?? assert.fail()), 'SIGKILL');
  await eventually(async () => (await edge.metric(restarts)) === 1, 'a worker was started again');
  await edge.waitForStatus('readyz', 200);
  for (let n = 0; n < 4; n++) assert.ok(await connects(path));
  await assert.rejects(EdgeProcess.start(env), /on which another process listens/);
  assert.ok(await connects(path));
  await edge.stop();
  assert.ok(!existsSync(path));
  await nats.stop();
});
