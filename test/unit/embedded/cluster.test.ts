/** Takeovers in one process: when a claim resolves, everyone before it has let go. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Claim } from '../../../src/broker/ports.ts';
import { EmbeddedCluster } from '../../../src/embedded/cluster.ts';
import { claimAt } from '../../support/claim-at.ts';

/** A connection that takes as long to close as the test wants. */
function connection() {
  let close: () => void = () => {};
  let fail: (cause: Error) => void = () => {};
  const closed = new Promise<void>((resolve, reject) => {
    close = resolve;
    fail = reject;
  });
  const state = { timesAsked: 0 };
  const yielded = (): Promise<void> => {
    state.timesAsked++;
    return closed;
  };
  return { state, yielded, close, fail };
}

/** Whether a promise has resolved by the next turn of the loop. */
async function isResolved(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([promise.then(() => true), turn(false)]);
}

/** A claim of the client `a`, or of another one. */
async function claim(cluster: EmbeddedCluster, yielded: () => Promise<void>, clientId = 'a'): Promise<Claim> {
  const claimed = await claimAt(cluster, { clientId, yielded });
  assert.ok(claimed !== undefined);
  return claimed.claim;
}

describe('embedded cluster', () => {
  test('a claim on a client that nobody has resolves at once; a released one is nobody’s', async () => {
    const cluster = new EmbeddedCluster();
    const first = connection();
    (await claim(cluster, first.yielded)).release();
    assert.ok(await isResolved(claim(cluster, connection().yielded)));
    assert.ok(await isResolved(claim(cluster, connection().yielded, 'b')));
    assert.equal(first.state.timesAsked, 0);
  });

  test('a claim waits until the holder has let go, and asks it once', async () => {
    const cluster = new EmbeddedCluster();
    const first = connection();
    await claim(cluster, first.yielded);
    const later = claim(cluster, connection().yielded);
    assert.equal(first.state.timesAsked, 1);
    assert.equal(await isResolved(later), false);
    first.close();
    assert.ok(await isResolved(later));
    assert.equal(first.state.timesAsked, 1);
  });

  test('a claim that overtakes a waiting one waits for both, in whatever order they end', async () => {
    const cluster = new EmbeddedCluster();
    const [first, second, third] = [connection(), connection(), connection()];
    await claim(cluster, first.yielded);
    const secondClaim = claim(cluster, second.yielded);
    const thirdClaim = claim(cluster, third.yielded);
    assert.deepEqual([first.state.timesAsked, second.state.timesAsked], [1, 1]);
    second.close();
    assert.equal(await isResolved(thirdClaim), false);
    first.close();
    assert.ok(await isResolved(secondClaim));
    assert.ok(await isResolved(thirdClaim));
  });

  test('a claim whose CONNECT came before that of the holder gives way, and releases nothing', async () => {
    const cluster = new EmbeddedCluster();
    const [first, second, third] = [connection(), connection(), connection()];
    const arrival = cluster.arrive();
    await claim(cluster, second.yielded);
    const late = await claimAt(cluster, { clientId: 'a', arrival, yielded: first.yielded });
    assert.deepEqual([first.state.timesAsked, second.state.timesAsked], [1, 0]);
    late?.claim.release();
    second.close();
    await claim(cluster, third.yielded);
    assert.equal(second.state.timesAsked, 1);
  });

  test('a user does not give way to nobody, nor anybody to a connection that has ended, though their CONNECT came later', async () => {
    for (const holder of [{ user: '' }, { user: 'ann', isGone: () => true }]) {
      const cluster = new EmbeddedCluster();
      const [first, second] = [connection(), connection()];
      const arrival = cluster.arrive();
      await claimAt(cluster, { clientId: 'a', yielded: second.yielded, ...holder });
      second.close();
      assert.ok(
        (await claimAt(cluster, { clientId: 'a', arrival, user: 'ann', yielded: first.yielded })) !== undefined,
      );
      assert.deepEqual([first.state.timesAsked, second.state.timesAsked], [0, 1]);
    }
  });

  test('releasing a claim that was overtaken leaves the later one in place', async () => {
    const cluster = new EmbeddedCluster();
    const [first, second, third] = [connection(), connection(), connection()];
    const firstClaim = await claim(cluster, first.yielded);
    first.close();
    await claim(cluster, second.yielded);
    firstClaim.release();
    second.close();
    await claim(cluster, third.yielded);
    assert.equal(second.state.timesAsked, 1);
  });

  test('a holder that fails to let go fails the claim, and the client can be claimed again', async () => {
    const cluster = new EmbeddedCluster();
    const [first, second] = [connection(), connection()];
    await claim(cluster, first.yielded);
    const later = claim(cluster, second.yielded);
    first.fail(new Error('not closed'));
    await assert.rejects(later, /not closed/);
    assert.ok(await isResolved(claim(cluster, connection().yielded)));
    assert.equal(second.state.timesAsked, 0);
  });
});
