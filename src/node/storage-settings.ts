/** The settings of all streams, from the configuration. */
import type { Config } from '../config/config.ts';
import type { StorageSettings } from '../nats/provision.ts';

export function storageSettings({ log, replicas, storage }: Config['nats']): StorageSettings {
  return {
    replicas,
    storage,
    logMaxAgeSeconds: log.maxAgeSeconds,
    logMaxBytes: log.maxBytes,
    logDiscard: log.discard,
    duplicateWindowSeconds: log.duplicateWindowSeconds,
  };
}
