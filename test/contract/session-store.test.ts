/** The session store contract on both implementations; the NATS one on a real nats-server. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { systemClock } from '../../src/clock.ts';
import { EmbeddedSessionStore } from '../../src/embedded/session-store.ts';
import { openBackplane } from '../support/backplane.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { type StoreUnderTest, sessionStoreContract } from './session-store-contract.ts';

let nats: NatsServerProcess;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

async function openNats(): Promise<StoreUnderTest> {
  const backplane = await openBackplane(nats.url);
  const { sessions: store } = backplane;
  assert.ok(store !== undefined);
  return { store, close: () => backplane.close() };
}

sessionStoreContract('embedded', async () => ({
  store: new EmbeddedSessionStore({ clock: systemClock }),
  close: async () => {},
}));
sessionStoreContract('nats', openNats);
