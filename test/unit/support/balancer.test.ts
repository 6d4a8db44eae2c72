/** The balancer of the tests: strictly the next node for each connection, and all bytes before an end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { startBalancer } from '../../support/balancer.ts';
import { portOf } from '../../support/join-sockets.ts';
import { freePort } from '../../support/ports.ts';

/** Says its name and half a megabyte, and ends. */
async function node(name: string): Promise<Server> {
  const server = createServer((socket) => socket.end(name + '.'.repeat(500_000))).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

test('each connection goes to the next node in turn, past one that does not listen', async () => {
  const nodes = [await node('a'), await node('b')];
  const balancer = await startBalancer([...nodes.map(portOf), await freePort()]);
  const answers: string[] = [];
  for (let n = 0; n < 5; n++) answers.push(await text(connect(balancer.port, '127.0.0.1')));
  assert.equal(answers.map((answer) => answer[0]).join(''), 'ababa');
  assert.ok(answers.every((answer) => answer.length === 500_001));
  await balancer.stop();
  for (const server of nodes) server.close();
});

/** Takes connections and says nothing. */
async function listening(): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

test('clients that come together are spread over the nodes, and stop() ends them', async () => {
  const nodes = await Promise.all([0, 1, 2].map(listening));
  const connected = nodes.map((server) => once(server, 'connection'));
  const balancer = await startBalancer(nodes.map(portOf));
  const clients = nodes.map(() => connect(balancer.port, '127.0.0.1').on('error', () => {}));
  await Promise.all(connected);
  const closed = clients.map((client) => new Promise((resolve) => client.once('close', resolve)));
  await balancer.stop();
  await Promise.all(closed);
  for (const server of nodes) server.close();
});
