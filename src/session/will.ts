/**
 * A will: checked when its client connects, and the one way on which it is published, by whatever node and for whatever reason. When
 * that is due is decided in wills.ts, for clients of dead nodes in will-handover.ts. [MQTT5 3.1.2-8] [MQTT311 3.1.2-8]
 */
import { isUtf8 } from 'node:buffer';
import type { LogOutcome, LogPublish, MessageLog, Route } from '../broker/ports.ts';
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
  /** Message Expiry Interval, which counts from its publication. */
  readonly expirySeconds: number | undefined;
  /** Will Delay Interval. */
  readonly delaySeconds: number;
}

/** What of the server's capabilities concerns wills. */
export interface WillCapabilities {
  readonly maximumQos: QoS;
  readonly retainAvailable: boolean;
  /** A payload that says that it is UTF-8 has to be. */
  readonly checkPayloadFormat: boolean;
}

/** What wills need of their node. */
export interface WillPlaces {
  readonly publisher: {
    route(topic: string): Route | undefined;
    publish(route: Route, payload: Uint8Array, extras: Extras | undefined): boolean;
    stored(message: Omit<LogPublish, 'settled'>, sequence: number, done: (outcome: LogOutcome) => void): void;
  };
  /** Undefined: nothing is stored, Maximum QoS is 0. */
  readonly sessions: { readonly log: MessageLog } | undefined;
}

/**
 * Checks a will against what this server offers. MQTT 3.x has no way to hear of Maximum QoS or Retain Available: its will
 * is published at what is offered.
 * @throws MqttError 0x9B, 0x9A, 0x99 (MQTT 5 only), 0x87 for a topic that clients may not publish to, 0x90 for one that cannot be carried
 */
export function acceptWill(
  definition: WillDefinition,
  version: ProtocolVersion,
  { capabilities, publisher }: WillPlaces & { readonly capabilities: WillCapabilities },
): Will {
  const { payload, properties, qos, retain } = definition;
  const { checkPayloadFormat, maximumQos, retainAvailable } = capabilities;
  if (version === 5 && qos > maximumQos)
    throw new MqttError(Reason.qosNotSupported, `Will QoS above Maximum QoS ${maximumQos}`); // [MQTT5 3.2.2-12]
  if (version === 5 && retain && !retainAvailable)
    throw new MqttError(Reason.retainNotSupported, 'Will Retain is not available'); // [MQTT5 3.2.2-13]
  const route = publisher.route(definition.topic);
  if (route === undefined) throw new MqttError(Reason.notAuthorized, 'will topic that clients may not publish to');
  // MQTT5 section 3.1.3.2.3
  if (checkPayloadFormat && scanPublishProperties(properties, 0, properties.length).payloadFormatIsUtf8)
    if (!isUtf8(payload)) throw new MqttError(Reason.payloadFormatInvalid, 'the payload of the will is not UTF-8');
  const granted = Math.min(qos, maximumQos) as QoS; // both are 0, 1 or 2
  return makeWill(route, { ...definition, qos: granted, retain: retain && retainAvailable });
}

/** What a will publishes, as CONNECT says it and as the store has it. */
export function makeWill(
  route: Route,
  { delaySeconds, payload, properties, qos, retain }: Omit<WillDefinition, 'topic'>,
): Will {
  const extras = properties.length === 0 && !retain ? undefined : { properties, retain, origin: '' };
  const { messageExpirySeconds: expirySeconds } = scanPublishProperties(properties, 0, properties.length);
  return { route, payload, extras, expirySeconds, delaySeconds, qos };
}

/** Whether the log has the will once it is published: it may be repeated under its message id then. */
export function goesThroughLog({ qos, retain }: { readonly qos: QoS; readonly retain: boolean }): boolean {
  return qos > 0 || retain;
}

/**
 * Publishes a will; resolves with the log's answer, at QoS 0 at once. The log stores a second one with the same `messageId` only once.
 * Never resolves when the node stops, or loses its lease, first.
 */
export function publishWill(will: Will, messageId: string, { publisher, sessions }: WillPlaces): Promise<LogOutcome> {
  const { expirySeconds, extras, payload, qos, route } = will;
  if (sessions === undefined || (qos === 0 && extras?.retain !== true)) {
    publisher.publish(route, payload, extras);
    return Promise.resolve('stored');
  }
  return new Promise((resolve) => {
    const message: LogPublish = {
      route,
      payload,
      qos,
      extras,
      expirySeconds,
      messageId,
      settled: (outcome, sequence) => {
        if (outcome === 'stored') publisher.stored(message, sequence, resolve);
        else resolve(outcome);
      },
    };
    sessions.log.publish(message);
  });
}
