/** Ten thousand numbered messages across three nodes, with nodes and NATS killed in the middle: none lost, in order, QoS 2 once. */
import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { type FlowResult, runFlow } from '../chaos/flow.ts';
import { EdgeNodes } from '../support/edge-nodes.ts';

const COUNT = 10_000;

let nodes: EdgeNodes;

before(async () => {
  nodes = await EdgeNodes.start(3);
});
after(async () => {
  await nodes.stop();
});

/** Kills the node that the publisher (first) or the subscriber (last) began with; another one takes its place. */
async function replace(index: number): Promise<void> {
  await nodes.edge(index).kill();
  await nodes.renew(index);
}

function assertWhole(t: TestContext, qos: 1 | 2, result: FlowResult): void {
  const { lost, misordered, received, repeated, seconds } = result;
  t.diagnostic(`QoS ${qos}: ${received} in ${seconds.toFixed(1)} s, ${repeated} repeated`);
  assert.equal(lost.length, 0, `lost: ${lost.slice(0, 5)} … ${lost.slice(-5)}`);
  assert.equal(misordered, 0, 'out of order');
  if (qos === 2) assert.equal(repeated, 0, 'repeated');
}

for (const qos of [1, 2] as const) {
  const ids = qos === 1 ? '[MQTT5 4.3.2-1] [MQTT5 4.6.0-5]' : '[MQTT5 4.3.3-2] [MQTT5 4.6.0-5]';
  test(`${ids} QoS ${qos} across three nodes: all, in order, once`, async (t) => {
    const result = await runFlow({ qos, count: COUNT, ports: nodes.ports });
    assertWhole(t, qos, result);
    assert.equal(result.repeated, 0, 'nothing has failed, so nothing is repeated');
  });

  test(`${ids} [MQTT5 4.5.0-1] [X] [K] QoS ${qos}, the publisher's node and the subscriber's node killed in the middle: none lost, in order`, async (t) => {
    const at = new Map([
      [Math.floor(COUNT / 3), () => replace(0)],
      [Math.floor((2 * COUNT) / 3), () => replace(2)],
    ]);
    assertWhole(t, qos, await runFlow({ qos, count: COUNT, ports: nodes.ports, at }));
    assert.equal(at.size, 2);
  });

  test(`${ids} QoS ${qos}, nats-server killed and started again on its store: every acknowledged message arrives`, async (t) => {
    const restart = async (): Promise<void> => {
      await nodes.nats.kill();
      await nodes.nats.restart();
    };
    const at = new Map([[COUNT / 2, restart]]);
    assertWhole(t, qos, await runFlow({ qos, count: COUNT, ports: nodes.ports, at }));
  });
}
