/**
 * The way of a packet into the server without a socket: the real Framer, decoders, acknowledgement reader, Receiver and Publisher, and the bus in
 * memory. Whatever is thrown but an MqttError, and whatever is accepted although another decoder reads it differently, is a defect.
 */
import assert from 'node:assert/strict';
import mqttPacket, { type IPublishPacket, type Packet, type Parser } from 'mqtt-packet';
import type { Route } from '../../src/broker/ports.ts';
import { Publisher } from '../../src/broker/publish.ts';
import { allCapabilities } from '../../src/connection/capabilities.ts';
import type { Connection } from '../../src/connection/connection.ts';
import type { Refusal } from '../../src/connection/intake.ts';
import { Receiver } from '../../src/connection/receiver.ts';
import { makeCounters } from '../../src/counters.ts';
import { EmbeddedBus } from '../../src/embedded/bus.ts';
import type { Extras } from '../../src/message.ts';
import { type Acknowledgement, readAcknowledgement } from '../../src/mqtt/acknowledgement.ts';
import { decodeClientPacket } from '../../src/mqtt/codec.ts';
import { decodeConnect, requestedVersion } from '../../src/mqtt/connect.ts';
import { Framer } from '../../src/mqtt/framing.ts';
import type { ClientPacket, ConnectPacket } from '../../src/mqtt/packet.ts';
import { PublishEncoder } from '../../src/mqtt/publish.ts';
import { MqttError, Reason } from '../../src/mqtt/reason.ts';
import { bodyOffset } from '../unit/mqtt/bytes.ts';
import { encodePacket } from './encode.ts';
import type { Version } from './samples.ts';

/** incomplete: the Framer waits for more. */
export type Outcome = 'accepted' | 'refused' | 'incomplete';

const MAXIMUM_PACKET_BYTES = 256 * 1024;
const TOPIC_ALIAS_MAXIMUM = 32;
const knownReasons: ReadonlySet<number> = new Set(Object.values(Reason));

interface Published {
  readonly route: Route | Refusal | undefined;
  readonly payload: Uint8Array;
  readonly extras: Extras | undefined;
}

export class DecoderTarget {
  readonly #receivers = new Map<Version, Receiver>();
  readonly #parsers = new Map<Version, PublishParser>();
  readonly #encoder = new PublishEncoder();
  readonly #acknowledgement: Acknowledgement = { packetId: 0, reason: 0 };
  #published: Published | undefined;

  constructor() {
    for (const version of [3, 4, 5] as const) {
      this.#receivers.set(version, new Receiver(this.#connection(version), TOPIC_ALIAS_MAXIMUM));
      this.#parsers.set(version, new PublishParser(version));
    }
  }

  /** Feeds the bytes in these chunks. Throws an error that is no MqttError for each defect. */
  feed(version: Version, chunks: readonly Buffer[]): Outcome {
    const framer = new Framer(MAXIMUM_PACKET_BYTES);
    framer.refusesPadding = version === 5;
    let taken = 0;
    let given = 0;
    try {
      for (const chunk of chunks) {
        framer.append(chunk);
        given += chunk.length;
        while (framer.next()) {
          const { bodyStart, end, start } = framer;
          // It always goes on, and never past what it was given.
          assert.ok(start < bodyStart && bodyStart <= end && end <= framer.buffer.length);
          taken += end - start;
          assert.ok(taken <= given && end - start <= MAXIMUM_PACKET_BYTES);
          this.#handle(framer, version);
        }
        assert.equal(framer.pendingBytes, given - taken);
      }
    } catch (error) {
      if (!(error instanceof MqttError)) throw error;
      assert.ok(knownReasons.has(error.reason) && error.reason >= 0x80, `reason ${error.reason}`);
      return 'refused';
    }
    return taken === given ? 'accepted' : 'incomplete';
  }

  #handle(framer: Framer, version: Version): void {
    const type = framer.header >> 4;
    if (type === 3) return this.#publish(framer, version);
    if (type >= 4 && type <= 7) return this.#acknowledge(framer, version);
    const frame = framer.buffer.subarray(framer.start, framer.end);
    const decode = type === 1 ? decodeConnect : (bytes: Buffer, at: number) => decodeClientPacket(version, bytes, at);
    const asked = type === 1 ? requestedVersion(frame, framer.bodyStart - framer.start) : version;
    const before = Buffer.from(frame);
    const decoded = decode(frame, framer.bodyStart - framer.start);
    assert.ok(before.equals(frame), 'the chunk is as it was');
    if (decoded.cmd === 'connect') assert.equal(decoded.version, asked);
    isFaithful(frame, decoded);
    this.#decodesAgain(asked ?? version, decoded, decode);
  }

  /** What was understood says it all: its canonical form is understood in the same way. */
  #decodesAgain(
    version: Version,
    decoded: ConnectPacket | ClientPacket,
    decode: (bytes: Buffer, at: number) => ConnectPacket | ClientPacket,
  ): void {
    const again = encodePacket(version, decoded);
    assert.deepStrictEqual(decode(again, bodyOffset(again)), decoded);
  }

  #acknowledge(framer: Framer, version: Version): void {
    const read = this.#acknowledgement;
    readAcknowledgement(framer, version, read);
    const { bodyStart, buffer, end } = framer;
    assert.equal(read.packetId, buffer.readUInt16BE(bodyStart));
    assert.ok(read.packetId > 0);
    assert.equal(read.reason, end - bodyStart > 2 ? buffer[bodyStart + 2] : 0);
  }

  #publish(framer: Framer, version: Version): void {
    this.#published = undefined;
    this.#receivers.get(version)?.publish(framer);
    const published = this.#taken();
    const frame = framer.buffer.subarray(framer.start, framer.end);
    const parsed = this.#parsers.get(version)?.parse(frame);
    if (parsed === undefined) throw new Error('accepted, but mqtt-packet cannot read it');
    // Nothing comes of a topic behind the walls.
    if (published?.route === undefined || published.route === 'forbidden')
      return assert.match(parsed.topic, /^($|\$|_INBOX($|\/))/);
    isFaithful(frame, [parsed.topic, parsed.properties]);
    assert.ok(typeof published.route === 'object', 'payloads are not judged');
    this.#matches(published, published.route, parsed);
  }

  /** A call, for the compiler does not know that the receiver has set it meanwhile. */
  #taken(): Published | undefined {
    return this.#published;
  }

  /** What goes on is what another decoder reads in the packet, and goes out as a legal packet that says the same. */
  #matches({ extras, payload }: Published, route: Route, parsed: IPublishPacket): void {
    assert.ok(!/[+#\0]/.test(route.name) && route.name !== '');
    if (parsed.topic !== '') assert.equal(route.name, parsed.topic);
    assert.ok(Buffer.compare(payload, Buffer.from(parsed.payload)) === 0, 'payload');
    assert.equal(extras?.retain ?? false, parsed.retain);
    const variant = { hasProperties: true, identifiers: Buffer.alloc(0), retainAsPublished: true };
    const packet = Buffer.alloc(this.#encoder.begin(variant, route, payload, extras));
    this.#encoder.write(packet, 0);
    const out = this.#parsers.get(5)?.parse(packet);
    assert.equal(out?.topic, route.name);
    const { topicAlias: _, ...properties } = parsed.properties ?? {};
    assert.deepEqual({ ...out?.properties }, properties);
  }

  /** As much of a connection as a Receiver uses, with a log. */
  #connection(version: Version): Connection {
    const counters = makeCounters();
    const take = (published: Published): void => {
      this.#published = published;
    };
    const bus = new EmbeddedBus(counters, { writable() {}, disconnected() {}, connected() {} });
    bus.subscribe('#', (route, payload, extras) => take({ route, payload, extras }));
    const publisher = new Publisher(bus, counters);
    const node = { counters, publisher, capabilities: allCapabilities, sessions: {}, connections: {} };
    const receivers = { intake: { take }, retaining: { take } };
    return { client: { version }, node, hasNoLocal: false, origin: 'origin', ...receivers } as unknown as Connection;
  }
}

/** Each string that was read stands in the packet as it is: what is no UTF-8 would have been replaced. */
function isFaithful(frame: Buffer, value: unknown): void {
  if (typeof value === 'string') return assert.ok(isWritten(frame, value), `string ${JSON.stringify(value)}`);
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return;
  for (const [name, member] of Object.entries(value)) {
    if (name === 'userProperties') isFaithful(frame, Object.keys(member));
    if (name !== 'cmd') isFaithful(frame, member);
  }
}

function isWritten(frame: Buffer, text: string): boolean {
  return text === '' || (!text.includes('\0') && frame.includes(text));
}

/** mqtt-packet, which knows nothing of our decoder; opened anew after an error. */
class PublishParser {
  readonly #version: Version;
  #parser: Parser | undefined;
  #packet: Packet | undefined;

  constructor(version: Version) {
    this.#version = version;
  }

  parse(frame: Buffer): IPublishPacket | undefined {
    this.#packet = undefined;
    this.#parser ??= this.#open();
    this.#parser.parse(frame);
    const packet = this.#taken();
    return packet?.cmd === 'publish' ? packet : undefined;
  }

  #taken(): Packet | undefined {
    return this.#packet;
  }

  #open(): Parser {
    const parser = mqttPacket.parser({ protocolVersion: this.#version });
    parser.on('packet', (packet) => {
      this.#packet = packet;
    });
    parser.on('error', () => {
      this.#parser = undefined;
    });
    return parser;
  }
}
