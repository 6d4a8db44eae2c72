/** What clients may name at all: the first level decides. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPublishAllowed, isSubscribeAllowed } from '../../../src/broker/walls.ts';
import { parseFilter } from '../../../src/mqtt/topic.ts';

const ordinary = [
  'a',
  'a/b',
  '/',
  '/$JS',
  'a/$SYS',
  'a/_INBOX/b',
  '_INBOXES',
  '_INBOX.x',
  '_inbox/a',
  ' $a',
  '日本',
  'SYS/a',
  '_',
];
const forbidden = [
  '$',
  '$JS/API/STREAM/LIST',
  '$KV/x/y',
  '$SMQ/log/a',
  '$MQTT',
  '$g',
  '$share',
  '$SYSTEM/a',
  '$sys/a',
  '_INBOX',
  '_INBOX/a',
  '_INBOX/',
];

test('ordinary topics may be published and subscribed to', () => {
  for (const topic of ordinary) {
    assert.equal(isPublishAllowed(topic), true, topic);
    assert.equal(isSubscribeAllowed(topic), true, topic);
  }
});

test('first levels that start with `$`, and `_INBOX`, are for no client', () => {
  for (const topic of forbidden) {
    assert.equal(isPublishAllowed(topic), false, topic);
    assert.equal(isSubscribeAllowed(topic), false, topic);
    assert.equal(isSubscribeAllowed(`${topic}/#`), false, topic);
  }
});

test('the first level of the own inboxes is for no client, beside `_INBOX`', () => {
  for (const topic of ['_INBOX_edge', '_INBOX_edge/a', '_INBOX/a', '$JS/a']) {
    assert.equal(isPublishAllowed(topic, '_INBOX_edge'), false, topic);
    assert.equal(isSubscribeAllowed(topic, '_INBOX_edge'), false, topic);
  }
  for (const topic of ['_INBOX_edges', '_INBOX_edg/a', 'a/_INBOX_edge'])
    assert.equal(isPublishAllowed(topic, '_INBOX_edge'), true, topic);
  assert.equal(isPublishAllowed('_INBOX_edge/a'), true);
});

test('`$SYS` may be read, not written', () => {
  for (const filter of ['$SYS', '$SYS/#', '$SYS/broker/+', '$SYS/'])
    assert.equal(isSubscribeAllowed(filter), true, filter);
  for (const topic of ['$SYS', '$SYS/broker/uptime']) assert.equal(isPublishAllowed(topic), false, topic);
});

test('[MQTT5 4.7.2-1] wildcards in front are allowed: what they may not see is kept from them at delivery', () => {
  for (const filter of ['#', '+', '+/#', '+/API/#']) assert.equal(isSubscribeAllowed(filter), true, filter);
});

test('a group does not open a door: its inner filter is checked by the same rule', () => {
  const isAllowed = (text: string): boolean => {
    const parsed = parseFilter(text);
    return parsed !== undefined && isSubscribeAllowed(parsed.filter);
  };
  for (const marker of ['$g', '$share']) {
    assert.equal(isAllowed(`${marker}/x/a/#`), true);
    assert.equal(isAllowed(`${marker}/x/$SYS/#`), true);
    for (const topic of forbidden) assert.equal(isAllowed(`${marker}/x/${topic}`), false, topic);
  }
});
