/** connection/authenticate.ts: what stays in memory of an exchange that is over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Authenticator, ConnectingClient } from '../../../src/auth/authenticator.ts';
import { userNamed } from '../../../src/auth/identity.ts';
import { Authentication } from '../../../src/connection/authenticate.ts';
import type { Connection } from '../../../src/connection/connection.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void; // the flag defines it

const authenticator: Authenticator = {
  authenticate: () => assert.fail('nobody asks'),
  begin: () => ({ step: async () => ({ kind: 'success', identity: userNamed('ann'), data: undefined }) }),
};

/** Begins an exchange whose end needs `connect`, and resolves when it is over. */
async function authenticated(authentication: Authentication): Promise<WeakRef<object>> {
  const connect = { password: Buffer.from('secret') };
  await new Promise<void>((resolve) => {
    authentication.begin(undefined, () => {
      assert.equal(connect.password.length, 6);
      resolve();
    });
  });
  return new WeakRef(connect);
}

test('authentication - the CONNECT, password included, is not kept once it is accepted', async () => {
  // All that an exchange without AUTH packets asks of its connection.
  const peer = (): never => assert.fail('nobody asks');
  const client: ConnectingClient = { clientId: 'c', version: 5, peer, isGone: () => false };
  const connection = { isClosed: false, node: { authenticator } } as unknown as Connection;
  const authentication = new Authentication(connection, 'METHOD', client);
  const connect = await authenticated(authentication);
  await new Promise(setImmediate); // references that weak ones have made end with the turn
  collectGarbage();
  assert.equal(connect.deref(), undefined);
  assert.equal(authentication.connackProperties.authenticationMethod, 'METHOD', 'it is still there itself');
});
