/** Two small waves of clients; `npm run soak:connections` is the long run. And what that run calls a leak. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runWaves } from './connection-waves.ts';
import { growthOver, type WaveFloor } from './wave-figures.ts';

const CONNECTIONS = 100;

test('waves of connections - nothing is left at the edge of clients of all kinds', async () => {
  const waves = await runWaves({
    connections: CONNECTIONS,
    goesOn: (count) => count < 2,
    waitsForStores: false,
    ebbed: () => {},
  });
  assert.equal(waves.length, 2);
  const [first, second] = waves;
  assert.ok(first !== undefined && second !== undefined);
  for (const { crest } of waves) {
    // All but those that are closed for their silence.
    const least = CONNECTIONS * 0.9;
    assert.ok(crest.supermq_clients_connected >= least, JSON.stringify(crest));
    assert.ok(crest.supermq_subscriptions >= least, JSON.stringify(crest));
    assert.ok(crest.supermq_groups > 0 && crest.supermq_sessions > 0 && crest.supermq_feeds > 0, JSON.stringify(crest));
  }
  assert.equal(second.floor.files, first.floor.files);
  assert.deepEqual(second.floor.stored['SMQ_RETAINED'], first.floor.stored['SMQ_RETAINED']);
});

const floor: WaveFloor = {
  heap: 20_000_000,
  external: 5_000_000,
  resident: 100_000_000,
  files: 40,
  natsSubscriptions: 8,
  consumers: 20,
  stored: { SMQ_RETAINED: 10, KV_SMQ_SESSIONS: 100 },
};

/** Eight waves of 1,000 connections that differ from {@link floor} as `change` says. */
function growthOf(change: (wave: number) => Partial<WaveFloor>): string[] {
  return growthOver(
    Array.from({ length: 8 }, (_, wave) => ({ ...floor, ...change(wave) })),
    1_000,
  );
}

test('waves of connections - what goes up and down, or grows in the first waves only, is no growth', () => {
  assert.deepEqual(
    growthOf(() => ({})),
    [],
  );
  assert.deepEqual(
    growthOf((wave) => ({ heap: 20_000_000 + Math.min(wave, 2) * 5_000_000, files: wave === 5 ? 60 : 40 })),
    [],
  );
  assert.deepEqual(
    growthOf((wave) => ({ natsSubscriptions: 8 + (wave % 2), stored: { KV_SMQ_SESSIONS: wave * 100 } })),
    [],
  );
});

test('waves of connections - what grows from wave to wave is found, and by how much', () => {
  assert.deepEqual(
    growthOf((wave) => ({ external: 5_000_000 + wave * 200_000 })),
    ['heap and buffers, by 200 bytes for each connection'],
  );
  assert.deepEqual(
    growthOf((wave) => ({ natsSubscriptions: 8 + wave })),
    ['natsSubscriptions, by 3'],
  );
  assert.deepEqual(
    growthOf((wave) => ({ stored: { SMQ_RETAINED: 10 + wave } })),
    ['messages in SMQ_RETAINED, by 3'],
  );
});
