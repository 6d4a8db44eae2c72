/** The NATS backplane of a node without the node: for contract tests. */
import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import type { Backplane, LogEvents } from '../../src/broker/ports.ts';
import { systemClock } from '../../src/clock.ts';
import { type Counters, makeCounters } from '../../src/counters.ts';
import { connectNatsBackplane, type NatsBackplaneOptions } from '../../src/nats/backplane.ts';
import { natsSettings } from './nats-settings.ts';

const silent: LogEvents = { gap() {} };

/** Connects to one nats-server; JetStream on, small times, whatever `options` does not say otherwise. */
export async function openBackplane(
  url: string,
  options: Partial<NatsBackplaneOptions> = {},
): Promise<Backplane & { readonly counters: Counters }> {
  const counters = makeCounters();
  const backplane = await connectNatsBackplane({
    settings: natsSettings(url),
    topicPrefix: '',
    maximumInFlightBytes: 1024 * 1024,
    jetstream: true,
    provision: 'auto',
    replicas: 1,
    storage: 'file',
    logMaxAgeSeconds: 3_600,
    logMaxBytes: 0,
    logDiscard: 'new',
    duplicateWindowSeconds: 120,
    logEvents: silent,
    groupAckWaitSeconds: 30,
    groupRetentionSeconds: 300,
    maximumGroups: 1_000,
    leaseSeconds: 15,
    leaseLost() {},
    nodeId: `contract-${randomUUID()}`,
    incarnation: randomUUID(),
    counters,
    events: { writable() {}, connected() {}, disconnected() {} },
    clock: systemClock,
    log: pino({ level: 'silent' }),
    failed: (cause) => {
      throw cause;
    },
    signal: new AbortController().signal,
    ...options,
  });
  return { ...backplane, counters };
}
