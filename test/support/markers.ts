/**
 * Messages that show that nothing else came: published behind what must not be forwarded, through every node of a deployment, so that
 * one of them has taken the same way.
 */
import assert from 'node:assert/strict';
import { RawClient } from './raw-client.ts';

/** As many nodes as a deployment has at most. */
const NODES = 3;

/** The topics of what the watcher gets before the markers, which are published to `topic` now; none is left behind. */
export async function receivedBefore(port: number, watcher: RawClient, topic: string): Promise<string[]> {
  for (let node = 0; node < NODES; node++) {
    const client = await RawClient.connect(port); // the balancer takes the next node each time
    client.publish(topic, 'marker');
    await client.end();
  }
  const topics: string[] = [];
  for (let markers = 0; markers < NODES; ) {
    const next = (await watcher.next('publish')).topic;
    if (next === topic) markers++;
    else topics.push(next);
  }
  assert.deepEqual(watcher.taken('publish'), []);
  return topics;
}
