/** The walk over an encoded block of MQTT 5 properties that checks each of them against the table. Called by properties.ts and connect-properties.ts. */
import type { PropertyDefinition, PropertyPlace } from './property-table.ts';
import { propertiesById } from './property-table.ts';
import type { Reader } from './reader.ts';
import { MqttError, malformed, protocolError } from './reason.ts';

/** Walks over a block, one property per `next()`, and throws at the first that is not allowed as it stands. */
export class PropertyScan {
  name: PropertyDefinition['name'] = 'userProperty';
  /** Offset of the identifier of the current property. */
  start = 0;
  /** Value of the current property if it is a number. */
  value = 0;
  readonly #reader: Reader;
  readonly #place: PropertyPlace;
  #seen = 0;

  constructor(reader: Reader, place: PropertyPlace) {
    this.#reader = reader;
    this.#place = place;
  }

  next(): boolean {
    if (this.#reader.isAtEnd) return false;
    this.start = this.#reader.position;
    const definition = this.#definition(this.#reader.varint());
    this.name = definition.name;
    this.value = this.#read(definition);
    return true;
  }

  /** Value of the current property if it is a string or binary: a view. */
  bytes(): Buffer {
    const identifierAndLength = 3;
    return this.#reader.buffer.subarray(this.start + identifierAndLength, this.#reader.position);
  }

  /** Unknown or out of place is malformed, a second copy a protocol error. [MQTT5 §2.2.2.2] */
  #definition(id: number): PropertyDefinition {
    const definition = propertiesById[id];
    if (definition === undefined) throw malformed(`unknown property ${id}`);
    if (!definition.allowedIn.includes(this.#place)) {
      if (definition.serverOnlyIn !== this.#place) throw malformed(`property ${definition.name} not allowed here`);
      // [MQTT5 3.3.4-6]
      throw protocolError(`property ${definition.name} sent by a client`);
    }
    if ((this.#seen & definition.bit) !== 0) throw protocolError(`property ${definition.name} repeated`);
    if (!definition.repeats) this.#seen |= definition.bit;
    return definition;
  }

  /** Passes over the value; returns it if it is a number, else 0. */
  #read(definition: PropertyDefinition): number {
    const reader = this.#reader;
    switch (definition.type) {
      case 'byte':
        return checkedFlag(reader.uint8(), definition);
      case 'uint16':
        return checkedNumber(reader.uint16(), definition);
      case 'uint32':
        return checkedNumber(reader.uint32(), definition);
      case 'varint':
        return checkedNumber(reader.varint(), definition);
      case 'binary':
        reader.skipBinary();
        return 0;
      case 'string':
        if (definition.name === 'responseTopic') skipResponseTopic(reader);
        else reader.skipString();
        return 0;
      case 'pair': // [MQTT5 1.5.7-1]
        reader.skipString();
        reader.skipString();
        return 0;
    }
  }
}

/** [MQTT5 §3.1.2.11] [MQTT5 §3.3.2.3.2] */
function checkedFlag(value: number, { name }: PropertyDefinition): number {
  if (value > 1) throw protocolError(`${name} is neither 0 nor 1`);
  return value;
}

function checkedNumber(value: number, { name, zeroIs }: PropertyDefinition): number {
  if (value === 0 && zeroIs !== undefined) throw new MqttError(zeroIs, `${name} is 0`);
  return value;
}

/** [MQTT5 3.3.2-13] [MQTT5 3.3.2-14] */
function skipResponseTopic(reader: Reader): void {
  const length = reader.skipString();
  if (length === 0) throw protocolError('Response Topic is empty');
  if (hasWildcard(reader.buffer, reader.position - length, reader.position)) {
    throw protocolError('Response Topic contains a wildcard');
  }
}

/** Whether the UTF-8 bytes from `start` to `end` contain `#` or `+`. */
export function hasWildcard(buffer: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (buffer[i] === 0x23 || buffer[i] === 0x2b) return true;
  return false;
}
