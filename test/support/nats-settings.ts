/** Settings with which a test connects to its nats-server, apart from any configuration file. */
import type { NatsSettings } from '../../src/nats/client.ts';

export function natsSettings(...servers: string[]): NatsSettings {
  return {
    servers,
    user: '',
    password: '',
    token: '',
    nkeySeedFile: '',
    credsFile: '',
    tls: { ca: '', cert: '', key: '', required: false },
    inboxPrefix: '_INBOX',
    reconnectWaitMs: 100,
    pingIntervalSeconds: 5,
  };
}
