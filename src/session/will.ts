/**
 * The will of a client: checked when it connects, published when its connection ends without DISCONNECT. Sessions end with
 * their connection here, so a Will Delay Interval is over at once. [MQTT5 3.1.2-8] [MQTT5 3.1.3-9]
 */
import { randomUUID } from 'node:crypto';
import type { LogPublish, MessageLog, Route } from '../broker/ports.ts';
import type { Extras } from '../message.ts';
import type { ProtocolVersion, QoS, WillDefinition } from '../mqtt/packet.ts';
import { scanPublishProperties } from '../mqtt/properties.ts';
import { MqttError, Reason } from '../mqtt/reason.ts';

/** A will that may be published. */
export interface Will {
  readonly route: Route;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly extras: Extras | undefined;
  readonly expirySeconds: number | undefined;
}

/** What wills need of their node. */
export interface WillPlaces {
  readonly publisher: {
    route(topic: string): Route | undefined;
    publish(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean;
    stored(message: Omit<LogPublish, 'settled'>, sequence: number, done: () => void): void;
  };
  /** Undefined: nothing is stored, Maximum QoS is 0. */
  readonly sessions: { readonly log: MessageLog } | undefined;
}

/**
 * Checks a will against what this server offers. MQTT 3.x has no way to hear of Maximum QoS 0 or Retain Available 0: its will
 * is published at QoS 0 and not stored.
 * @throws MqttError 0x9B, 0x9A (MQTT 5 only), 0x87 for a topic that clients may not publish to, 0x90 for one that cannot be carried
 */
export function acceptWill(
  definition: WillDefinition,
  version: ProtocolVersion,
  { publisher, sessions }: WillPlaces,
): Will {
  if (version === 5 && definition.qos > 0 && sessions === undefined)
    throw new MqttError(Reason.qosNotSupported, 'Will QoS above Maximum QoS 0'); // [MQTT5 3.2.2-12]
  if (version === 5 && definition.retain && sessions === undefined)
    throw new MqttError(Reason.retainNotSupported, 'Will Retain is not available'); // [MQTT5 3.2.2-13]
  const route = publisher.route(definition.topic);
  if (route === undefined) throw new MqttError(Reason.notAuthorized, 'will topic that clients may not publish to');
  const { payload, properties, retain } = definition;
  const extras = properties.length === 0 && !retain ? undefined : { properties, retain, origin: '' };
  const { messageExpirySeconds: expirySeconds } = scanPublishProperties(properties, 0, properties.length);
  return { route, payload, extras, expirySeconds, qos: sessions === undefined ? 0 : definition.qos };
}

/** QoS 1 and 2 through the log; whether it was stored, nobody is there to hear. */
export function publishWill(will: Will, { publisher, sessions }: WillPlaces): void {
  const { expirySeconds, extras, payload, qos, route } = will;
  if (sessions === undefined || (qos === 0 && extras?.retain !== true)) {
    publisher.publish(route, payload, extras);
    return;
  }
  const message: LogPublish = {
    route,
    payload,
    qos,
    extras,
    expirySeconds,
    messageId: randomUUID(),
    settled: (outcome, sequence) => {
      if (outcome === 'stored') publisher.stored(message, sequence, nothing);
    },
  };
  sessions.log.publish(message);
}

function nothing(): void {}
