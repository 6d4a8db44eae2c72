/** Headers that are kept for the next message of a publisher: in how much memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MsgHdrs, NatsConnection } from 'nats';
import { pino } from 'pino';
import { systemClock } from '../../../src/clock.ts';
import { makeCounters } from '../../../src/counters.ts';
import { NatsBus } from '../../../src/nats/bus.ts';
import { LogPublisher } from '../../../src/nats/log-publisher.ts';
import { RefusedSubscriptions } from '../../../src/nats/refused-subscriptions.ts';
import { SubjectMap } from '../../../src/nats/subject.ts';

const payload = Buffer.from('payload');
const extras = { properties: Buffer.alloc(0), retain: false, origin: 'a-publisher' };

/** A connection that takes everything, and the headers that it was given. */
function makeConnection(): { readonly connection: NatsConnection; readonly headers: Uint8Array[] } {
  const headers: Uint8Array[] = [];
  const connection = {
    options: { inboxPrefix: '_INBOX' },
    info: { max_payload: 1024 * 1024 },
    subscribe: () => {},
    publish: (_subject: string, _payload: Uint8Array, { headers: given }: { headers: MsgHdrs & Encoded }) =>
      headers.push(given.encode()),
  };
  return { connection: connection as unknown as NatsConnection, headers }; // what is called while something is published
}

interface Encoded {
  encode(): Uint8Array;
}

function checkKept([first, second]: readonly Uint8Array[]): void {
  assert.ok(first !== undefined && Buffer.from(first).includes('a-publisher'));
  assert.equal(second, first, 'it is kept');
  assert.equal(first.buffer.byteLength, first.length, 'what is kept is the headers alone');
}

function makeBus(connection: NatsConnection): NatsBus {
  const counters = makeCounters();
  return new NatsBus({
    connection,
    subjects: new SubjectMap(''),
    counters,
    refusals: new RefusedSubscriptions({
      counters,
      clock: systemClock,
      log: pino({ level: 'silent' }),
      inboxPrefix: '_INBOX',
    }),
    events: { connected() {}, disconnected() {}, writable() {} },
    maximumInFlightBytes: 1024 * 1024,
  });
}

test('kept headers - of copies of stored messages take no more memory than their bytes', () => {
  const { connection, headers } = makeConnection();
  const bus = makeBus(connection);
  const route = bus.route('a');
  assert.ok(route !== undefined);
  for (let number = 0; number < 2; number++) bus.publish(route, payload, { ...extras, isStored: true });
  checkKept(headers);
});

test('kept headers - of messages for the log take no more memory than their bytes', () => {
  const { connection, headers } = makeConnection();
  const route = makeBus(connection).route('a');
  assert.ok(route !== undefined);
  const publisher = new LogPublisher({ connection, clock: systemClock, uncertain: () => {} });
  const message = { route, payload, qos: 1 as const, extras, expirySeconds: undefined, messageId: '' };
  for (let number = 0; number < 2; number++) publisher.publish({ ...message, settled: () => {} });
  publisher.close();
  checkKept(headers);
});
