/** Options of what CONNACK offers. */
import { boolean, integer, text } from '../formats.ts';
import { type Option, option } from './option.ts';

export const capabilities: readonly Option[] = [
  option(
    'mqtt.maximumQos',
    'MQTT_MAXIMUM_QOS',
    integer(0, 2),
    2,
    'Highest QoS that clients may publish with, and that subscriptions are granted.',
  ),
  option('mqtt.retainAvailable', 'MQTT_RETAIN_AVAILABLE', boolean, true, 'Offer retained messages.'),
  option(
    'mqtt.wildcardSubscriptions',
    'MQTT_WILDCARD_SUBSCRIPTIONS',
    boolean,
    true,
    'Offer subscriptions with `+` and `#`.',
  ),
  option(
    'mqtt.subscriptionIdentifiers',
    'MQTT_SUBSCRIPTION_IDENTIFIERS',
    boolean,
    true,
    'Offer subscription identifiers.',
  ),
  option(
    'mqtt.sharedSubscriptions',
    'MQTT_SHARED_SUBSCRIPTIONS',
    boolean,
    true,
    'Offer consumer groups, `$share` and `$g`.',
  ),
  option(
    'mqtt.responseInformation',
    'MQTT_RESPONSE_INFORMATION',
    text(
      'a topic without + and #, not below $ or _INBOX, in which %c stands for the client id, or empty',
      /^(?!\$|_INBOX(?:\/|$))[^+#\0]*$/,
    ),
    '',
    'Response Information for MQTT 5 clients that ask for it, `%c` stands for the client id; empty = none.',
  ),
  option(
    'mqtt.checkPayloadFormat',
    'MQTT_CHECK_PAYLOAD_FORMAT',
    boolean,
    false,
    'Refuse a message whose Payload Format Indicator says UTF-8 and whose payload is not (0x99).',
  ),
];
