/** The bus contract on both implementations; the NATS one with a prefix and without, on a real nats-server. */
import { after, before } from 'node:test';
import { makeCounters } from '../../src/counters.ts';
import { EmbeddedBus } from '../../src/embedded/bus.ts';
import { openBackplane } from '../support/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { type BusUnderTest, busContract } from './bus-contract.ts';

const events = { writable() {}, connected() {}, disconnected() {} };
let nats: NatsServerProcess;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

function openNats(topicPrefix: string): Promise<BusUnderTest> {
  return openBackplane(nats.url, { topicPrefix, jetstream: false });
}

busContract('embedded', async () => {
  const counters = makeCounters();
  const bus = new EmbeddedBus(counters, events);
  return { bus, counters, close: () => bus.close() };
});
busContract('nats', () => openNats(''));
busContract('nats with a prefix', () => openNats('site-7.mqtt'));
