/** nats/consumed.ts: what the reply subject of a consumed message says, in both forms that servers use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placeOf } from '../../../src/nats/consumed.ts';

const expected = { deliveries: 3, sequence: 1_234, stamp: Number('1795599837504464180'), pending: 5 };

test('consumed - the reply subject without and with domain and account', () => {
  assert.deepEqual(placeOf('$JS.ACK.SMQ_LOG.group-x.3.1234.77.1795599837504464180.5'), expected);
  assert.deepEqual(placeOf('$JS.ACK.hub.AbCd.SMQ_LOG.group-x.3.1234.77.1795599837504464180.5'), expected);
  assert.deepEqual(placeOf('$JS.ACK.hub.AbCd.SMQ_LOG.group-x.3.1234.77.1795599837504464180.5.random'), expected);
});

test('consumed - anything else is none', () => {
  for (const reply of ['', '_INBOX.a.b', '$JS.ACK.', '$JS.ACK.SMQ_LOG.group-x.3', '$JS.ACK.a.b.1.x.3.4.5'])
    assert.equal(placeOf(reply), undefined, reply);
});
