/** NATS applications and the log: they store messages for devices that are away, and hear what devices store as plain messages. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect as connectNats, headers, type Msg, type NatsConnection } from 'nats';
import { EdgeNodes } from '../support/edge-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { SessionClient } from '../support/session-client.ts';

let nodes: EdgeNodes;
let application: NatsConnection;

before(async () => {
  nodes = await EdgeNodes.start(2);
  application = await connectNats({ servers: nodes.nats.url });
});
after(async () => {
  await application.close();
  await nodes.stop();
});

test('what an application publishes into the log reaches a device that was away, at the QoS that its header says', async () => {
  const device = await SessionClient.connect(nodes.portOf(0), 'offline-device');
  await device.subscribe('commands/#', 2);
  await device.leave();
  const js = application.jetstream();
  const twice = headers();
  twice.set('Mqtt-QoS', '2');
  await js.publish('$SMQ.log.commands.a', '1');
  await js.publish('$SMQ.log.commands.a', '2', { headers: twice });
  await js.publish('$SMQ.log.commands', '3');
  // Published again after its acknowledgement was lost, say.
  await js.publish('$SMQ.log.commands.a', '4', { msgID: 'command-4' });
  await js.publish('$SMQ.log.commands.a', '4', { msgID: 'command-4' });
  await device.connect(nodes.portOf(1));
  await device.waitFor(4);
  await js.publish('$SMQ.log.commands.a', '5');
  await device.waitFor(5);
  // Order is promised per topic and QoS. [MQTT5 4.6.0-6]
  const byNumber = device.arrivals.toSorted((a, b) => a.number - b.number);
  assert.deepEqual(
    byNumber.map(({ number, qos, topic }) => [number, qos, topic]),
    [
      [1, 1, 'commands/a'],
      [2, 2, 'commands/a'],
      [3, 1, 'commands'],
      [4, 1, 'commands/a'],
      [5, 1, 'commands/a'],
    ],
  );
  await device.forget();
});

test('an application hears stored messages of devices once, on the plain subject, with the header Mqtt-Stored; QoS 0 has none', async () => {
  const heard: Msg[] = [];
  const subscription = application.subscribe('telemetry.>', { callback: (_error, message) => heard.push(message) });
  await application.flush();
  const device = await SessionClient.connect(nodes.portOf(0), 'telemetry-device');
  for (const qos of [0, 1, 2] as const) await device.publish(`telemetry/${qos}`, String(qos), { qos });
  await eventually(() => heard.length === 3, 'three messages');
  await device.publish('telemetry/end', 'end', { qos: 0 });
  await eventually(() => heard.length === 4, 'the marker');
  assert.deepEqual(
    heard.map((message) => [message.subject, message.string(), message.headers?.get('Mqtt-Stored') ?? '']),
    [
      ['telemetry.0', '0', ''],
      ['telemetry.1', '1', '1'],
      ['telemetry.2', '2', '1'],
      ['telemetry.end', 'end', ''],
    ],
  );
  subscription.unsubscribe();
  await device.forget();
});

test('[MQTT5 3.3.2-5] [MQTT5 3.3.2-6] a stored message that has expired is not delivered on another node; one that has not carries what is left', async () => {
  const device = await SessionClient.connect(nodes.portOf(0), 'expiry-device');
  await device.subscribe('expiry/#', 1);
  await device.leave();
  const publisher = await SessionClient.connect(nodes.portOf(0), 'expiry-publisher');
  const publish = (number: number, seconds: number): Promise<number> =>
    publisher.publish('expiry/x', String(number), { qos: 1, properties: { messageExpiryInterval: seconds } });
  const started = performance.now();
  await publish(1, 2);
  await publish(2, 600);
  await publisher.publish('expiry/x', '3', { qos: 1 });
  // Expired by the clock that nobody can drive from outside: the one of nats-server.
  await eventually(() => performance.now() - started > 3_100, 'the first interval');
  await device.connect(nodes.portOf(1));
  await device.waitFor(2);
  assert.deepEqual(device.numbers(), [2, 3]);
  const [kept, plain] = device.arrivals;
  assert.ok(kept !== undefined && plain !== undefined);
  assert.ok((kept.expirySeconds ?? 0) <= 597 && (kept.expirySeconds ?? 0) >= 590, `${kept.expirySeconds} s are left`);
  assert.equal(plain.expirySeconds, undefined);
  assert.equal(await nodes.edge(1).metric('supermq_messages_dropped_total{cause="expired"}'), 1);
  await Promise.all([device.forget(), publisher.forget()]);
});
