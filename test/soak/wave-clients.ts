/**
 * The clients of a wave: each kind of life that a connection can have at the edge, from CONNECT to its end. Topics come again in each wave and most
 * client ids do not, so that what is remembered per connection or client shows as growth, and what is remembered per topic does not.
 */
import type { Packet } from 'mqtt-packet';
import { type ConnectFields, RawClient } from '../support/raw-client.ts';

/** Sessions that are left behind end by themselves after so long. */
export const EXPIRY_SECONDS = 5;
const WILL_DELAY_SECONDS = 2;
/** Groups that the members of a wave are spread over. */
const GROUPS = 20;
/** One publisher in so many of QoS 1 and 2 has an id that never comes again: the edge remembers the header that names a publisher, for some 20,000 of them. */
const NEW_PUBLISHERS = 10;

export interface Seat {
  readonly port: number;
  readonly wave: number;
  /** Of the client within its wave. */
  readonly index: number;
}

/** Ends the client. */
export type Ending = () => Promise<void>;

type Life = (seat: Seat) => Promise<Ending>;

const reset =
  (client: RawClient): Ending =>
  () =>
    client.abort();
const goodbye =
  (client: RawClient): Ending =>
  () =>
    client.end();

function idOf({ index, wave }: Seat): string {
  return `soak-${wave}-${index}`;
}

function publisherIdOf(seat: Seat): string {
  return Math.floor(seat.index / lives.length) % NEW_PUBLISHERS === 0 ? idOf(seat) : `soak-${seat.index}`;
}

async function connect({ port }: Seat, fields: ConnectFields): Promise<RawClient> {
  const client = await RawClient.connect(port, fields);
  const { reasonCode = 0, returnCode = 0 } = client.connack;
  if (reasonCode + returnCode !== 0) throw new Error(`refused with ${reasonCode + returnCode}`);
  return client;
}

/** MQTT 5 with a session that is left behind. */
function durable(seat: Seat, clientId: string, fields: ConnectFields = {}): Promise<RawClient> {
  const properties = { sessionExpiryInterval: EXPIRY_SECONDS };
  return connect(seat, { version: 5, clean: false, clientId, properties, ...fields });
}

async function publishOnce(seat: Seat): Promise<Ending> {
  const client = await connect(seat, { version: 4, clientId: idOf(seat) });
  const topic = `soak/clean/${seat.index}`;
  await client.subscribe(topic);
  client.publish(topic, 'QoS 0');
  await client.messages(1);
  return goodbye(client);
}

async function publishWithWill(seat: Seat): Promise<Ending> {
  const topic = `soak/will/${seat.index}`;
  const will = { topic, payload: Buffer.from('gone'), qos: 1 as const, retain: false };
  const client = await connect(seat, { version: 5, clientId: publisherIdOf(seat), will });
  client.acknowledges = true;
  await client.subscribe({ topic, qos: 1 });
  await client.publishAcknowledged(topic, 'QoS 1', 1);
  await client.messages(1);
  return reset(client);
}

/** Its session is stored with a message under way, and expires. */
async function leaveMidway(seat: Seat): Promise<Ending> {
  const client = await durable(seat, publisherIdOf(seat));
  const topic = `soak/durable/${seat.index}`;
  await client.subscribe({ topic, qos: 2 });
  await client.publishAcknowledged(topic, 'QoS 2', 2);
  const { messageId = 0 } = await client.next('publish');
  client.acknowledge('pubrec', messageId);
  return reset(client);
}

/** Its session, a member of a group, is left in order, and expires. */
async function joinGroup(seat: Seat): Promise<Ending> {
  const client = await durable(seat, publisherIdOf(seat));
  const number = Math.floor(seat.index / lives.length) % GROUPS;
  client.acknowledges = true;
  await client.subscribe({ topic: `$share/soak-${number}/soak/group/${number}/#`, qos: 1 });
  await client.publishAcknowledged(`soak/group/${number}/${seat.index}`, 'to one of them', 1);
  return goodbye(client);
}

async function delayWill(seat: Seat): Promise<Ending> {
  const properties = { willDelayInterval: WILL_DELAY_SECONDS };
  const will = { topic: `soak/delayed/${seat.index}`, payload: Buffer.from('gone'), qos: 1 as const, properties };
  const client = await durable(seat, idOf(seat), { will: { ...will, retain: false } });
  return reset(client);
}

async function takeOver(seat: Seat): Promise<Ending> {
  const fields = { version: 5 as const, clean: false, clientId: idOf(seat) };
  const topic = `soak/taken/${seat.index}`;
  const first = await connect(seat, { ...fields, properties: { sessionExpiryInterval: EXPIRY_SECONDS } });
  await first.subscribe({ topic, qos: 1 });
  const second = await connect(seat, fields);
  await first.closed;
  await second.subscribe({ topic, qos: 0 });
  return goodbye(second);
}

/** A session of MQTT 3.1.1 has no expiry: a clean CONNECT ends it. */
async function forget(seat: Seat): Promise<Ending> {
  const clientId = idOf(seat);
  const client = await connect(seat, { version: 4, clean: false, clientId });
  await client.subscribe({ topic: `soak/forgotten/${seat.index}`, qos: 1 });
  return async () => {
    await client.end();
    await (await connect(seat, { version: 4, clientId })).end();
  };
}

async function retain(seat: Seat): Promise<Ending> {
  const client = await connect(seat, { version: 5, clientId: publisherIdOf(seat) });
  const topic = `soak/retained/${seat.index}`;
  client.publish(topic, 'QoS 0', { retain: true });
  await client.publishAcknowledged(topic, 'QoS 1', 1, { retain: true });
  client.acknowledges = true;
  await client.subscribe({ topic, qos: 1 });
  await client.messages(1);
  return async () => {
    await client.publishAcknowledged(topic, '', 1, { retain: true });
    await client.end();
  };
}

/** Says nothing any more, and is closed for it. */
async function fallSilent(seat: Seat): Promise<Ending> {
  const client = await connect(seat, { version: 5, clientId: idOf(seat), keepalive: 1 });
  await client.subscribe(`soak/silent/${seat.index}`);
  return () => client.closed;
}

/** Has filters that overlap, gives one back, and ends with a packet that no client may send. */
async function breakRules(seat: Seat): Promise<Ending> {
  const client = await connect(seat, { version: 5, clientId: idOf(seat) });
  const topic = `soak/broken/${seat.index}`;
  await client.subscribeWith({ subscriptionIdentifier: 7 }, `${topic}/+`, { topic: `${topic}/#`, nl: true }, topic);
  await client.unsubscribe(topic);
  client.publish(`${topic}/x`, 'to one of two');
  await client.messages(1);
  return async () => {
    client.send({ cmd: 'connack', sessionPresent: false, reasonCode: 0 } as Packet);
    await client.closed;
  };
}

const lives: readonly Life[] = [
  publishOnce,
  publishWithWill,
  leaveMidway,
  joinGroup,
  delayWill,
  takeOver,
  forget,
  retain,
  fallSilent,
  breakRules,
];

/** Connects the client of this seat and lets it do what its kind does; call what it returns when it shall end. */
export function live(seat: Seat): Promise<Ending> {
  const life = lives[seat.index % lives.length] ?? publishOnce;
  return life(seat);
}
