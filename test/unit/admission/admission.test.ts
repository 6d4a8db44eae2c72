/** admission/admission.ts: who may open a connection, on a clock that stands until a test moves it. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type AdmissionLimits, NodeAdmission } from '../../../src/admission/admission.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { type Counters, makeCounters } from '../../../src/counters.ts';
import { makeLog } from '../../../src/log.ts';
import { ManualClock } from '../embedded/manual-clock.ts';

interface Gate {
  readonly admission: NodeAdmission;
  readonly clock: ManualClock;
  readonly counters: Counters;
}

const made: NodeAdmission[] = [];
after(() => {
  for (const admission of made) admission.stop();
});

function makeGate(limits: Partial<AdmissionLimits>): Gate {
  const [clock, counters] = [new ManualClock(), makeCounters()];
  const complete = { ...loadConfig({ env: {} }).limits, ...limits };
  const admission = new NodeAdmission({ limits: complete, clock, counters, log: makeLog('silent', 'gate') });
  made.push(admission);
  return { admission, clock, counters };
}

/** How many of so many connections of one address are let in. */
function tryIn({ admission }: Gate, address: string, count: number): number {
  return Array.from({ length: count }, () => admission.admit(address)).filter(Boolean).length;
}

test('admission - by default nobody is kept out', () => {
  const gate = makeGate({});
  assert.equal(tryIn(gate, '192.0.2.1', 100_000), 100_000);
  for (let i = 0; i < 1_000; i++) gate.admission.failed('192.0.2.1');
  assert.ok(gate.admission.admit('192.0.2.1'));
  assert.equal(gate.counters.connectionsRefused, 0);
});

test('admission - the connections of the node are counted until they have left', () => {
  const gate = makeGate({ maxConnections: 3 });
  assert.equal(tryIn(gate, '192.0.2.1', 5), 3);
  assert.equal(gate.counters.limited.maxConnections, 2);
  assert.equal(gate.counters.connectionsRefused, 2);
  gate.admission.left('192.0.2.1');
  assert.equal(tryIn(gate, '192.0.2.2', 2), 1);
});

test('admission - the connections of one address are counted, another one has its own', () => {
  const gate = makeGate({ maxConnectionsPerAddress: 2 });
  assert.equal(tryIn(gate, '192.0.2.1', 3), 2);
  assert.equal(tryIn(gate, '::ffff:192.0.2.1', 1), 0);
  assert.equal(tryIn(gate, '192.0.2.2', 3), 2);
  assert.equal(tryIn(gate, '2001:db8::1', 1) + tryIn(gate, '2001:db8::2', 1) + tryIn(gate, '2001:db8::3', 1), 2);
  gate.admission.left('192.0.2.1');
  assert.equal(tryIn(gate, '192.0.2.1', 2), 1);
  assert.equal(gate.counters.limited.maxConnectionsPerAddress, 5);
});

test('admission - what has no address is not counted by it, and an exempt one is not either', () => {
  const exemptAddresses = ['10.0.0.0/8'];
  const gate = makeGate({ maxConnectionsPerAddress: 1, connectsPerSecondPerAddress: 1, exemptAddresses });
  assert.equal(tryIn(gate, '', 10), 10);
  assert.equal(tryIn(gate, '10.1.2.3', 10), 10);
  gate.admission.left('10.1.2.3');
  gate.admission.left('');
  assert.equal(tryIn(gate, '192.0.2.1', 10), 1);
});

test('admission - a rate lets a burst in, and then as many as time brings', () => {
  const gate = makeGate({ connectsPerSecond: 10, connectBurst: 50 });
  assert.equal(tryIn(gate, '192.0.2.1', 100), 50);
  gate.clock.pass(2);
  assert.equal(tryIn(gate, '192.0.2.1', 100), 20);
  gate.clock.pass(3_600);
  assert.equal(tryIn(gate, '192.0.2.1', 100), 50);
  assert.equal(gate.counters.limited.connectsPerSecond, 50 + 80 + 50);
});

test('admission - an address above its rate takes nothing of what the node allows', () => {
  const gate = makeGate({ connectsPerSecond: 20, connectsPerSecondPerAddress: 5 });
  assert.equal(tryIn(gate, '192.0.2.1', 1_000), 5);
  assert.equal(tryIn(gate, '192.0.2.2', 1_000), 5);
  assert.equal(gate.counters.limited.connectsPerSecondPerAddress, 995 * 2);
  assert.equal(gate.counters.limited.connectsPerSecond, 0);
  assert.equal(
    ['3', '4', '5', '6'].map((last) => tryIn(gate, `192.0.2.${last}`, 5)).reduce((a, b) => a + b),
    10,
  );
});

test('jail - an address is kept out after too many bad ends within the window, and let in again later', () => {
  const gate = makeGate({ jailSeconds: 100, jailFailures: 3, jailWindowSeconds: 10 });
  const fail = (times: number): void => {
    for (let i = 0; i < times; i++) gate.admission.failed('192.0.2.1');
  };
  fail(2);
  gate.clock.pass(11);
  fail(2); // of another window
  assert.ok(gate.admission.admit('192.0.2.1'));
  fail(1);
  assert.ok(!gate.admission.admit('192.0.2.1'));
  assert.ok(gate.admission.admit('192.0.2.2'));
  assert.deepEqual([gate.counters.addressesJailed, gate.counters.limited.jailSeconds], [1, 1]);
  gate.clock.pass(99);
  assert.ok(!gate.admission.admit('192.0.2.1'));
  gate.clock.pass(2);
  assert.ok(gate.admission.admit('192.0.2.1'));
});

test('jail - the connections that an address still has when it is jailed do not jail it again', () => {
  const gate = makeGate({ jailSeconds: 100, jailFailures: 3, jailWindowSeconds: 200 });
  for (let i = 0; i < 10; i++) gate.admission.failed('192.0.2.1');
  gate.clock.pass(99);
  for (let i = 0; i < 10; i++) gate.admission.failed('192.0.2.1');
  gate.clock.pass(2);
  assert.ok(gate.admission.admit('192.0.2.1'), 'nor longer');
  assert.equal(gate.counters.addressesJailed, 1);
});

test('jail - who is above the rate of its address often enough is jailed for it', () => {
  const gate = makeGate({ jailSeconds: 100, jailFailures: 10, connectsPerSecondPerAddress: 5 });
  assert.equal(tryIn(gate, '192.0.2.1', 100), 5);
  assert.equal(gate.counters.addressesJailed, 1);
  gate.clock.pass(50);
  assert.equal(tryIn(gate, '192.0.2.1', 1), 0);
});

test('jail - an exempt address is never in it', () => {
  const gate = makeGate({ jailSeconds: 100, jailFailures: 1, exemptAddresses: ['192.0.2.1'] });
  gate.admission.failed('192.0.2.1');
  gate.admission.failed('');
  assert.ok(gate.admission.admit('192.0.2.1') && gate.admission.admit(''));
});

test('jail - a client id that flaps is jailed at its address only', () => {
  const { admission, clock, counters } = makeGate({ jailSeconds: 60, jailReconnects: 3, jailWindowSeconds: 10 });
  const admits = (address: string): boolean => admission.jail?.admitsClient(address, 'flapping') === true;
  assert.deepEqual(
    [1, 2, 3, 4, 5].map(() => admits('192.0.2.1')),
    [true, true, true, false, false],
  );
  assert.ok(admits('192.0.2.2'), 'nobody can have a client id jailed elsewhere');
  assert.equal(counters.clientsJailed, 1);
  assert.ok(admission.admit('192.0.2.1'), 'the address is free');
  clock.pass(61);
  assert.ok(admits('192.0.2.1'));
});

test('jail - what is remembered is bounded: who is forgotten counts as new', () => {
  const gate = makeGate({ jailSeconds: 3_600, jailFailures: 1 });
  const nth = (i: number): string => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
  gate.admission.failed('192.0.2.1');
  for (let i = 0; i < 20_000; i++) gate.admission.failed(nth(i));
  assert.ok(gate.admission.admit('192.0.2.1'));
  assert.ok(!gate.admission.admit(nth(19_999)));
});
