/** admission/address-key.ts and exemption.ts: what counts as one address, and for which none of it holds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressKey } from '../../../src/admission/address-key.ts';
import { makeExemption } from '../../../src/admission/exemption.ts';

test('address key - an IPv4 address is itself, also where IPv6 carries it', () => {
  assert.equal(addressKey('192.0.2.7'), '192.0.2.7');
  assert.equal(addressKey('::ffff:192.0.2.7'), '192.0.2.7');
  assert.equal(addressKey('::ffff:c000:207'), '192.0.2.7');
});

test('address key - an IPv6 address is its /64, however it is written', () => {
  const key = '2001:db8:1:2::/64';
  for (const address of ['2001:db8:1:2::1', '2001:0DB8:1:2:ffff:ffff:ffff:ffff', '2001:db8:1:2:3:4:192.0.2.1'])
    assert.equal(addressKey(address), key);
  assert.notEqual(addressKey('2001:db8:1:3::1'), key);
  assert.equal(addressKey('::1'), '0:0:0:0::/64');
  assert.equal(addressKey('fe80::1%eth0'), 'fe80:0:0:0::/64');
});

test('address key - what is no address is nobody', () => {
  for (const text of ['', '/run/supermq.sock', '300.0.0.1']) assert.equal(addressKey(text), '');
});

test('exemption - addresses and networks of both families, mapped ones included', () => {
  const isExempt = makeExemption(['192.0.2.1', '10.0.0.0/8', '2001:db8::/32']);
  for (const address of ['192.0.2.1', '10.200.3.4', '::ffff:10.1.1.1', '2001:db8:ffff::1'])
    assert.ok(isExempt(address), address);
  for (const address of ['192.0.2.2', '11.0.0.1', '2001:db9::1', '']) assert.ok(!isExempt(address), address);
  assert.ok(!makeExemption([])('10.0.0.1'));
});
