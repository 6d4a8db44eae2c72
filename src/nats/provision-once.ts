/** `supermq provision`: the streams made or checked by a user of NATS who may, so that those of the nodes need not. */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { connectNats, type NatsSettings } from './client.ts';
import { Requests } from './jetstream.ts';
import { provision, type StorageSettings } from './provision.ts';

export interface ProvisionOnceOptions {
  readonly settings: NatsSettings;
  readonly storage: StorageSettings;
  /** Shown by NATS tools. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Waits for NATS as long as it takes. Rejects as {@link provision} does. */
export async function provisionOnce({ clock, log, name, settings, storage }: ProvisionOnceOptions): Promise<void> {
  const { signal } = new AbortController();
  const connection = await connectNats(settings, `${name} provision`, { noEcho: true, log, signal });
  const requests = new Requests(connection, clock);
  try {
    await provision(requests, { ...storage, provision: 'auto' }, log);
  } finally {
    requests.close();
    await connection.close();
  }
}
