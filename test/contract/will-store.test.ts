/** The will store contract on both implementations; the NATS one on a real nats-server. */
import { after, before } from 'node:test';
import { pino } from 'pino';
import { systemClock } from '../../src/clock.ts';
import { EmbeddedWillStore } from '../../src/embedded/will-store.ts';
import { connectNats } from '../../src/nats/client.ts';
import { Requests } from '../../src/nats/jetstream.ts';
import { provision } from '../../src/nats/provision.ts';
import { NatsWillStore } from '../../src/nats/will-store.ts';
import { type NatsServerProcess, startNatsServer } from '../support/nats-server.ts';
import { natsSettings } from '../support/nats-settings.ts';
import { type WillStoreUnderTest, willStoreContract } from './will-store-contract.ts';

const log = pino({ level: 'silent' });
const storage = {
  replicas: 1,
  storage: 'file',
  logMaxAgeSeconds: 3_600,
  logMaxBytes: 0,
  logDiscard: 'new',
  duplicateWindowSeconds: 120,
} as const;
let nats: NatsServerProcess;

before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

async function openNats(): Promise<WillStoreUnderTest> {
  const { signal } = new AbortController();
  const connection = await connectNats(natsSettings(nats.url), 'contract', { noEcho: false, log, signal });
  const requests = new Requests(connection, systemClock);
  await provision(requests, storage, log);
  return {
    store: new NatsWillStore(requests),
    close: async () => {
      requests.close();
      await connection.close();
    },
  };
}

willStoreContract('embedded', async () => ({
  store: new EmbeddedWillStore(),
  close: async () => {},
}));
willStoreContract('nats', openNats);
