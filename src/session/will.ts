/**
 * The will of a client: checked when it connects, published when its connection ends without DISCONNECT. Sessions end with
 * their connection here, so a Will Delay Interval is over at once. [MQTT5 3.1.2-8] [MQTT5 3.1.3-9]
 */
import type { Route } from '../broker/ports.ts';
import type { Extras } from '../message.ts';
import type { ProtocolVersion, WillDefinition } from '../mqtt/packet.ts';
import { MqttError, Reason } from '../mqtt/reason.ts';

/** A will that may be published. */
export interface Will {
  readonly route: Route;
  readonly payload: Buffer;
  readonly extras: Extras | undefined;
}

/** What wills need of broker/publish.ts. */
export interface WillPublisher {
  route(topic: string): Route | undefined;
  publish(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean;
}

/**
 * Checks a will against what this server offers. MQTT 3.x has no way to hear of Maximum QoS 0 or Retain Available 0: its will
 * is published at QoS 0 and not stored.
 * @throws MqttError 0x9B, 0x9A (MQTT 5 only), 0x87 for a topic that clients may not publish to, 0x90 for one that cannot be carried
 */
export function acceptWill(definition: WillDefinition, version: ProtocolVersion, publisher: WillPublisher): Will {
  if (version === 5 && definition.qos > 0) throw new MqttError(Reason.qosNotSupported, 'Will QoS above Maximum QoS 0'); // [MQTT5 3.2.2-12]
  if (version === 5 && definition.retain)
    throw new MqttError(Reason.retainNotSupported, 'Will Retain is not available'); // [MQTT5 3.2.2-13]
  const route = publisher.route(definition.topic);
  if (route === undefined) throw new MqttError(Reason.notAuthorized, 'will topic that clients may not publish to');
  const { properties, retain } = definition;
  const extras = properties.length === 0 && !retain ? undefined : { properties, retain, origin: '' };
  return { route, payload: definition.payload, extras };
}

export function publishWill(will: Will, publisher: WillPublisher): void {
  publisher.publish(will.route, will.payload, will.extras);
}
