/**
 * A node with NATS under attack, by a process that does nothing else: the clients that it serves go on, and its memory stays bounded. The figures
 * are printed.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startNatsServer } from '../support/nats-server.ts';
import { EdgeProcess } from '../support/node.ts';
import { RawClient } from '../support/raw-client.ts';
import { type AttackFigures, attack } from './served.ts';

/** Of the idle p99, which the round trips of an attacked node stay below. */
const SLOWER = 10;
/** An idle node takes about a millisecond: attacker, node and test share two cores with whatever else is tested. */
const FLOOR_MILLISECONDS = 250;
const GROWTH_MIB = 200;

let nats: Awaited<ReturnType<typeof startNatsServer>>;
before(async () => {
  nats = await startNatsServer();
});
after(() => nats.stop());

interface Attack {
  readonly attack: string;
  readonly seconds: number;
  readonly env?: Record<string, string>;
  /** What the node must have counted. */
  readonly held: (edge: EdgeProcess, figures: AttackFigures) => Promise<void>;
}

async function limitReached(edge: EdgeProcess, limit: string): Promise<number> {
  return edge.metric(`supermq_limit_reached_total{limit="${limit}"}`);
}

const attacks: Readonly<Record<string, Attack>> = {
  'CONNECT byte by byte on 500 connections': {
    attack: 'loris',
    seconds: 5,
    env: { SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '2' },
    held: async (edge) => {
      assert.ok((await limitReached(edge, 'connectTimeoutSeconds')) >= 500, 'they are closed in time');
    },
  },
  'a flood of connections with garbage, no limit set': {
    attack: 'garbage',
    seconds: 5,
    held: async (edge, { attempts }) => {
      assert.ok((await edge.metric('supermq_protocol_errors_total')) >= attempts * 0.9);
    },
  },
  'a flood of connections with garbage, and a jail': {
    attack: 'garbage',
    seconds: 5,
    env: { SUPERMQ_LIMITS_JAIL_SECONDS: '60' },
    held: async (edge) => {
      assert.equal(await edge.metric('supermq_addresses_jailed_total'), 1);
      assert.ok((await limitReached(edge, 'jailSeconds')) > 1_000);
      const client = await RawClient.connect(edge.tcp);
      assert.equal(client.connack.returnCode, 0, 'others can connect');
      await client.end();
    },
  },
  'lengths of 256 MB': {
    attack: 'claims',
    seconds: 4,
    held: async (edge) => {
      assert.ok((await limitReached(edge, 'maxConnectBytes')) > 1_000);
    },
  },
  'lengths just below the limit on 2,000 connections, and no bytes': {
    attack: 'promises',
    seconds: 4,
    env: { SUPERMQ_LIMITS_CONNECT_TIMEOUT_SECONDS: '2' },
    held: async (_edge, { attempts, grownMib }) => {
      assert.ok(attempts > 1_500, `${attempts} connections`);
      assert.ok(grownMib < 100, 'what is only claimed takes no memory');
    },
  },
  'a million filters by one client': {
    attack: 'filters',
    seconds: 10,
    held: async (edge, { attempts }) => {
      assert.ok(attempts >= 1_000_000, `${attempts} filters`);
      assert.ok((await limitReached(edge, 'maxSubscriptionsPerClient')) > 900_000);
    },
  },
  'topics and filters of 64 KB and of 32,768 levels': {
    attack: 'topics',
    seconds: 4,
    held: async (edge) => {
      assert.ok((await edge.metric('supermq_protocol_errors_total')) > 100);
    },
  },
};

for (const [name, { attack: kind, env = {}, held, seconds }] of Object.entries(attacks)) {
  test(`attack - ${name}`, { timeout: 30_000 }, async (t) => {
    const edge = await EdgeProcess.start({ SUPERMQ_NATS_SERVERS: nats.url, ...env });
    t.after(() => edge.kill());
    const figures = await attack(edge, kind, seconds);
    const { attacked, attempts, grownMib, idle } = figures;
    t.diagnostic(
      `${name}: ${attempts} attempts in ${seconds} s; round trip p50 ${idle.median} → ${attacked.median} ms, p99 ${idle.p99} → ${attacked.p99} ms; memory +${grownMib} MiB`,
    );
    await held(edge, figures);
    assert.equal(await edge.metric('supermq_internal_errors_total'), 0);
    assert.ok(attacked.p99 < Math.max(SLOWER * idle.p99, FLOOR_MILLISECONDS), `p99 ${attacked.p99} ms`);
    assert.ok(grownMib < GROWTH_MIB, `memory grew by ${grownMib} MiB`);
  });
}
