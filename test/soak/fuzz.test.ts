/** The fuzzers for a few seconds; `npm run soak:fuzz` is the long run. A failure names seed and number, with which it comes again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EdgeProcess } from '../support/node.ts';
import { fuzzDecoder } from './decoder-fuzz.ts';
import { fuzzStreams } from './stream-fuzz.ts';

const SEED = 20_261_125;

test('200,000 legal and mutated packets: the decoders refuse by the rules only, and agree on what they accept', () => {
  const { outcomes } = fuzzDecoder({ seed: SEED, packets: 200_000 });
  assert.ok(outcomes.accepted > 40_000 && outcomes.refused > 40_000, JSON.stringify(outcomes));
});

test('[MQTT5 4.13.1-1] [MQTT311 4.8.0-1] 2,000 streams with illegal packets: no defect, others served, memory bounded', async () => {
  const edge = await EdgeProcess.start({ SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '2' });
  const { forwarded, protocolErrors } = await fuzzStreams(edge, { seed: SEED, streams: 2_000 });
  assert.ok(protocolErrors > 500, `${protocolErrors} protocol errors`);
  assert.ok(forwarded > 500, `${forwarded} messages`);
  assert.equal(await edge.stop(), 0);
});
