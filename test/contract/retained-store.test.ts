/** The retained store contract on both implementations; the NATS one on a real nats-server. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { EmbeddedRetainedStore } from '../../src/embedded/retained-store.ts';
import { makeTopic } from '../../src/message.ts';
import { openBackplane } from '../support/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { type RetainedUnderTest, retainedStoreContract } from './retained-store-contract.ts';

const servers: NatsServerProcess[] = [];

before(async () => {
  for (let i = 0; i < 2; i++) servers.push(await startNatsServer());
});
after(() => Promise.all(servers.map((server) => server.stop())));

/** Each on a server of its own: a store begins empty. */
async function openNats(index: number, topicPrefix: string): Promise<RetainedUnderTest> {
  const backplane = await openBackplane(servers[index]?.url ?? '', { topicPrefix });
  const { bus, log, retained: store } = backplane;
  assert.ok(store !== undefined);
  const now = (): number => systemClock.now();
  const route = bus.route('any');
  assert.ok(log !== undefined && route !== undefined);
  const nextSequence = (): Promise<number> =>
    new Promise((resolve) => {
      const message = { route, payload: Buffer.alloc(0), qos: 1 as const, extras: undefined, expirySeconds: undefined };
      log.publish({ ...message, messageId: '', settled: (_, sequence) => resolve(sequence) });
    });
  return { store, now, nextSequence, makeRoute: (topic) => bus.route(topic), close: () => backplane.close() };
}

retainedStoreContract('embedded', async () => {
  const store = new EmbeddedRetainedStore({ clock: systemClock });
  let last = 0;
  const nextSequence = async (): Promise<number> => ++last;
  return { store, now: () => systemClock.now(), nextSequence, makeRoute: makeTopic, close: async () => store.close() };
});
retainedStoreContract('nats', () => openNats(0, ''));
retainedStoreContract('nats with a prefix', () => openNats(1, 'site-7.mqtt'));
