/** The will store contract on both implementations; the NATS one on a real nats-server. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { EmbeddedWillStore } from '../../src/embedded/will-store.ts';
import { openBackplane } from '../support/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { type WillStoreUnderTest, willStoreContract } from './will-store-contract.ts';

let nats: NatsServerProcess;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

async function openNats(): Promise<WillStoreUnderTest> {
  const backplane = await openBackplane(nats.url);
  const { wills: store } = backplane;
  assert.ok(store !== undefined);
  return { store, close: () => backplane.close() };
}

willStoreContract('embedded', async () => ({ store: new EmbeddedWillStore(), close: async () => {} }));
willStoreContract('nats', openNats);
