/** The cases of pressure.ts: the load, and what goes on beside it. */
import { ByteClient } from '../support/byte-client.ts';
import type { Place } from './pressure-place.ts';

/** What makes the pressure; each has a table of its own. */
export const pressures = ['subscribers', 'nats'] as const;
export type Pressure = (typeof pressures)[number];

export interface Case {
  readonly pressure: Pressure;
  readonly title: string;
  /** For mqttload. */
  readonly load: string;
  /** What goes on beside the load; returns how it is ended. */
  readonly beside: (place: Place) => Promise<() => Promise<void>>;
}

const THROTTLE_PERIOD_MILLISECONDS = 25;
/** Of each period. */
const RUNNING_MILLISECONDS = 3;
/** From the start of the load to the outage, and how long it lasts. */
const BEFORE_OUTAGE_MILLISECONDS = 2_000;
const OUTAGE_MILLISECONDS = 5_000;
/** A slow client reads so much at once, twenty times a second. */
const SIP_BYTES = 4 * 1024;
const SIP_MILLISECONDS = 50;

const undisturbed = async (): Promise<() => Promise<void>> => async () => {};

/** NATS gets about an eighth of a core. */
async function throttled({ nats }: Place): Promise<() => Promise<void>> {
  const { pid } = nats;
  const periods = setInterval(() => {
    process.kill(pid, 'SIGCONT');
    setTimeout(() => process.kill(pid, 'SIGSTOP'), RUNNING_MILLISECONDS);
  }, THROTTLE_PERIOD_MILLISECONDS);
  return async () => {
    clearInterval(periods);
    await pause(2 * THROTTLE_PERIOD_MILLISECONDS);
    process.kill(pid, 'SIGCONT');
  };
}

async function frozen({ nats }: Place): Promise<() => Promise<void>> {
  const outage = pause(BEFORE_OUTAGE_MILLISECONDS)
    .then(() => nats.pause())
    .then(() => pause(OUTAGE_MILLISECONDS))
    .then(() => nats.resume());
  return () => outage;
}

async function killed({ nats }: Place): Promise<() => Promise<void>> {
  const outage = pause(BEFORE_OUTAGE_MILLISECONDS)
    .then(() => nats.kill())
    .then(() => pause(OUTAGE_MILLISECONDS))
    .then(() => nats.restart());
  return () => outage;
}

/** One more subscriber of `filter`, which reads nothing. */
function stalled(filter: string, qos: 0 | 1 = 0) {
  return async ({ edge }: Place): Promise<() => Promise<void>> => {
    const client = await ByteClient.connect(edge.tcp, 'stalled');
    await client.subscribe(filter, qos);
    client.socket.pause();
    return async () => client.end();
  };
}

/** One more subscriber of `filter`, which reads 80 KiB a second. */
function slow(filter: string, qos: 0 | 1 = 0) {
  return async ({ edge }: Place): Promise<() => Promise<void>> => {
    const client = await ByteClient.connect(edge.tcp, 'slow');
    await client.subscribe(filter, qos);
    const sips = client.sip(SIP_BYTES, SIP_MILLISECONDS);
    return async () => {
      clearInterval(sips);
      client.end();
    };
  };
}

const many = 'fanout --warmup 0 --subs 20 --rate 500 --payload 2048 --secs 10 --topic many';
const manyOnce = 'fanout --warmup 0 --subs 20 --rate 500 --payload 2048 --secs 10 --topic many -q 1';

/** In the order of the tables. */
export const cases: Readonly<Record<string, Case>> = {
  many: { pressure: 'subscribers', title: '20 subscribers that keep up, QoS 0', load: many, beside: undisturbed },
  'many-stalled': {
    pressure: 'subscribers',
    title: '20, and one that reads nothing, QoS 0',
    load: many,
    beside: stalled('many/t0'),
  },
  'many-slow': {
    pressure: 'subscribers',
    title: '20, and one that reads slowly (80 KiB/s), QoS 0',
    load: many,
    beside: slow('many/t0'),
  },
  'subscriber-slow-qos0': {
    pressure: 'subscribers',
    title: 'one that keeps up with 2,000/s, and one that reads slowly (80 KiB/s), QoS 0',
    load: 'fanout --warmup 0 --subs 1 --rate 2000 --payload 1024 --secs 8 --topic many',
    beside: slow('many/t0'),
  },
  'many-qos1': {
    pressure: 'subscribers',
    title: '20 subscribers that keep up, QoS 1',
    load: manyOnce,
    beside: undisturbed,
  },
  'many-qos1-stalled': {
    pressure: 'subscribers',
    title: '20, and one that reads nothing, QoS 1',
    load: manyOnce,
    beside: stalled('many/t0', 1),
  },
  'many-qos1-slow': {
    pressure: 'subscribers',
    title: '20, and one that reads slowly (80 KiB/s), QoS 1',
    load: manyOnce,
    beside: slow('many/t0', 1),
  },
  'subscriber-slow-qos1': {
    pressure: 'subscribers',
    title: 'one that keeps up with 2,000/s, and one that reads slowly (80 KiB/s), QoS 1',
    load: 'fanout --warmup 0 --subs 1 --rate 2000 --payload 1024 --secs 8 --topic many -q 1',
    beside: slow('many/t0', 1),
  },
  'nats-slow-qos0': {
    pressure: 'nats',
    title: 'publishers faster than NATS (which runs 3 ms of 25), QoS 0',
    load: 'pair --warmup 0 -n 50 --secs 8 --payload 256 --idle 8',
    beside: throttled,
  },
  'nats-slow-qos1': {
    pressure: 'nats',
    title: 'publishers faster than NATS (which runs 3 ms of 25), QoS 1',
    load: 'pair --warmup 0 -n 50 -q 1 --window 100 --secs 8 --payload 256 --idle 8',
    beside: throttled,
  },
  'frozen-qos0': {
    pressure: 'nats',
    title: 'NATS frozen for 5 s, QoS 0',
    load: 'pair --warmup 0 -n 50 --rate 20000 --payload 256 --secs 10 --idle 12',
    beside: frozen,
  },
  'frozen-qos1': {
    pressure: 'nats',
    title: 'NATS frozen for 5 s, QoS 1',
    load: 'pair --warmup 0 -n 50 -q 1 --window 100 --rate 5000 --payload 256 --secs 10 --idle 12',
    beside: frozen,
  },
  'killed-qos0': {
    pressure: 'nats',
    title: 'NATS killed, back after 5 s, QoS 0',
    load: 'pair --warmup 0 -n 50 --rate 20000 --payload 256 --secs 10 --idle 12',
    beside: killed,
  },
  'killed-qos1': {
    pressure: 'nats',
    title: 'NATS killed, back after 5 s, QoS 1',
    load: 'pair --warmup 0 -n 50 -q 1 --window 100 --rate 5000 --payload 256 --secs 10 --idle 12',
    beside: killed,
  },
  'frozen-crowd-qos1': {
    pressure: 'nats',
    title: 'NATS frozen for 5 s, 1,000 publishers with 100 messages of 4 KiB under way each, QoS 1',
    load: 'fanin --warmup 0 --pubs 1000 --subs 1 -q 1 --window 100 --payload 4096 --secs 10 --idle 12',
    beside: frozen,
  },
};

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
