/**
 * What every layer of a node shares about an application message: its topic, ready to be written into a PUBLISH,
 * and what travels beside the payload. Payloads stay views on the chunk they came in; whoever keeps one copies it.
 */

/** A topic name in both forms that delivery needs; made once per topic and shared. */
export interface Topic {
  readonly name: string;
  /** Two length bytes and the UTF-8 bytes, as a PUBLISH starts with them. */
  readonly encoded: Buffer;
}

/** What a message carries beside topic and payload; `undefined` in place of all of it is the common case. */
export interface Extras {
  /** MQTT 5 properties to forward, encoded, without the length in front; empty when there are none. */
  readonly properties: Buffer;
  /** RETAIN flag of the PUBLISH, for subscriptions with Retain As Published. */
  readonly retain: boolean;
  /** Hash of the publisher's client id, present if the publisher has a No Local subscription; else empty. */
  readonly origin: string;
  /** A copy of a message that the log has too: only for those who do not read the log. */
  readonly isStored?: true;
}

/** Builds a {@link Topic}; the name must be valid UTF-8 of at most 65,535 bytes. */
export function makeTopic(name: string): Topic {
  const length = Buffer.byteLength(name);
  const encoded = Buffer.allocUnsafeSlow(length + 2);
  encoded.writeUInt16BE(length, 0);
  encoded.write(name, 2);
  return { name, encoded };
}
