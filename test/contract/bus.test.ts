/** The bus contract on both implementations; the NATS one with a prefix and without, on a real nats-server. */
import { after, before } from 'node:test';
import { pino } from 'pino';
import { systemClock } from '../../src/clock.ts';
import { makeCounters } from '../../src/counters.ts';
import { EmbeddedBus } from '../../src/embedded/bus.ts';
import { connectNatsBackplane } from '../../src/nats/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { natsSettings } from '../support/nats-settings.ts';
import { type BusUnderTest, busContract } from './bus-contract.ts';

const events = { writable() {}, connected() {}, disconnected() {} };
let nats: NatsServerProcess;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

async function openNats(topicPrefix: string): Promise<BusUnderTest> {
  const counters = makeCounters();
  const { bus, close } = await connectNatsBackplane({
    settings: natsSettings(nats.url),
    topicPrefix,
    maximumInFlightBytes: 1024 * 1024,
    nodeId: 'contract',
    incarnation: 'contract',
    counters,
    events,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    failed: (cause) => {
      throw cause;
    },
    signal: new AbortController().signal,
  });
  return { bus, counters, close };
}

busContract('embedded', async () => {
  const counters = makeCounters();
  const bus = new EmbeddedBus(counters, events);
  return { bus, counters, close: () => bus.close() };
});
busContract('nats', () => openNats(''));
busContract('nats with a prefix', () => openNats('site-7.mqtt'));
