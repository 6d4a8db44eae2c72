/**
 * What a case of the corpus is: bytes that a client sends, and everything that the server answers to them. The groups of this folder make
 * cases, run.ts plays them. Packets are built byte by byte (unit/mqtt/bytes.ts), without the server's own code.
 */
import { bytes, type Part, packet, props, str, u16 } from '../../unit/mqtt/bytes.ts';

export type Version = 3 | 4 | 5;

/** All that comes back, as run.ts writes packets down (`DISCONNECT 0x81`, `PUBCOMP 000792`), and whether the client may go on. */
export interface Reaction {
  readonly packets: readonly string[];
  readonly end: 'open' | 'closed';
}

/** A message that the observer, subscribed to everything, must get. */
export interface Delivered {
  readonly topic: string;
  readonly payload: string;
}

/** What is sent before the bytes in question. `waits`: the answers have to be there before the next step is sent. */
export interface Step {
  readonly send: Buffer;
  readonly packets: readonly string[];
  readonly waits: boolean;
}

export interface Case {
  readonly name: string;
  readonly version: Version;
  /** Statements: `MQTT5 2.1.3-1`, `MQTT311 2.2.2-2`. */
  readonly ids: readonly string[];
  readonly before: readonly Step[];
  readonly bytes: Buffer;
  readonly expect: Reaction;
  readonly delivers: readonly Delivered[];
}

export interface Group {
  readonly title: string;
  /** What the cases show together, beside the statements that each of them names: sections without numbers of their own, most of all. */
  readonly also?: readonly string[];
  readonly cases: readonly Case[];
}

/** Statement numbers of both standards, blank-separated. */
export interface Rule {
  readonly five: string;
  readonly three: string;
}

export function rule(five: string, three = ''): Rule {
  return { five, three };
}

/** What a case needs beside its rule; `before` is a CONNECT unless something else is given. */
export interface Draft {
  readonly name: string;
  readonly version: Version;
  readonly bytes: Buffer;
  readonly expect: Reaction;
  readonly before?: readonly Step[];
  readonly delivers?: readonly Delivered[];
}

export function makeCase({ five, three }: Rule, draft: Draft): Case {
  const { version, before = [connected(version)], delivers = [] } = draft;
  const [standard, numbers] = version === 5 ? ['MQTT5', five] : ['MQTT311', three];
  const ids = numbers.split(' ').filter((number) => number !== '');
  return { ...draft, before, delivers, ids: ids.map((number) => `${standard} ${number}`) };
}

/** The connection stays, and this is all that came. */
export function answers(...packets: string[]): Reaction {
  return { packets, end: 'open' };
}

/** Legal, and calls for no answer. */
export const silence: Reaction = answers();

/** Closed without a packet. */
export const closed: Reaction = { packets: [], end: 'closed' };

/** A client with a CONNACK is closed: MQTT 5 with DISCONNECT and the code. */
export function refused(version: Version, code: number): Reaction {
  return version === 5 ? { packets: [`DISCONNECT ${hex(code)}`], end: 'closed' } : closed;
}

/** A CONNECT is refused: MQTT 5 with CONNACK and the code. [MQTT5 §4.13] */
export function notAccepted(version: Version, code: number): Reaction {
  return version === 5 ? { packets: [`CONNACK ${hex(code)}`], end: 'closed' } : closed;
}

export const accepted: Reaction = answers('CONNACK 0x00');

export function hex(code: number): string {
  return `0x${code.toString(16).toUpperCase().padStart(2, '0')}`;
}

export const versions: readonly Version[] = [3, 4, 5];
/** Those with a standard of their own, for generated cases. */
export const standards: readonly Version[] = [4, 5];

let clients = 0;

/** A client id that no other case has. */
export function clientId(): string {
  return `corpus-${++clients}`;
}

export interface ConnectParts {
  readonly header?: number;
  readonly flags?: number;
  /** With its length; MQTT 5 only. */
  readonly properties?: Buffer;
  /** All behind the properties. */
  readonly payload?: readonly Part[];
}

/** Protocol name and level. */
export function protocol(version: Version): Buffer {
  return bytes(str(version === 3 ? 'MQIsdp' : 'MQTT'), version);
}

/** A CONNECT that is right except for what is given. */
export function connect(version: Version, parts: ConnectParts = {}): Buffer {
  const { header = 0x10, flags = 2, properties = props(), payload = [str(clientId())] } = parts;
  return packet(header, protocol(version), flags, u16(60), version === 5 ? properties : bytes(), ...payload);
}

/** Request Problem Information 0: answers have no Reason String. */
const plainAnswers = props(0x17, 0);

export function connected(version: Version, parts: ConnectParts = {}): Step {
  return { send: connect(version, { properties: plainAnswers, ...parts }), packets: ['CONNACK 0x00'], waits: false };
}

export interface PublishParts {
  /** Flags of the fixed header. */
  readonly flags?: number;
  readonly topic?: string | Buffer;
  /** Sent if given. */
  readonly id?: number | undefined;
  /** With its length; MQTT 5 only. */
  readonly properties?: Buffer;
  readonly payload?: string | Buffer;
}

export function publish(version: Version, parts: PublishParts): Buffer {
  const { flags = 0, topic = 'pub', id, properties = props(), payload = 'p' } = parts;
  const head = [str(topic), id === undefined ? bytes() : u16(id), version === 5 ? properties : bytes()];
  return packet(0x30 | flags, ...head, Buffer.from(payload));
}

/** SUBSCRIBE with packet id 7. `filters`: filter and options, one after the other. */
export function subscribe(version: Version, filters: readonly Part[], properties = props()): Buffer {
  return packet(0x82, u16(7), version === 5 ? properties : bytes(), ...filters);
}

/** UNSUBSCRIBE with packet id 7. */
export function unsubscribe(version: Version, filters: readonly Part[], properties = props()): Buffer {
  return packet(0xa2, u16(7), version === 5 ? properties : bytes(), ...filters);
}

/** SUBACK of packet id 7. */
export function suback(version: Version, ...codes: number[]): string {
  return `SUBACK 0007${version === 5 ? '00' : ''}${Buffer.from(codes).toString('hex')}`;
}

/** UNSUBACK of packet id 7; 3.x knows no codes. */
export function unsuback(version: Version, ...codes: number[]): string {
  return version === 5 ? `UNSUBACK 000700${Buffer.from(codes).toString('hex')}` : 'UNSUBACK 0007';
}

/** An answer to a packet id that nobody knows: MQTT 5 says so. */
export function unknownId(version: Version, type: 'PUBREL' | 'PUBCOMP'): string {
  return `${type} 0007${version === 5 ? '92' : ''}`;
}
