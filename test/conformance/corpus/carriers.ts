/**
 * Every MQTT 5 packet of a client that carries properties, as a place to put a block into: with it strings.ts and properties.ts ask the same
 * of all of them. A block of User Properties alone is legal in each.
 */
import { bytes, packet, property, props, str, u16 } from '../../unit/mqtt/bytes.ts';
import {
  accepted,
  answers,
  clientId,
  closed,
  connect,
  connected,
  type Delivered,
  notAccepted,
  publish,
  type Reaction,
  refused,
  type Step,
  silence,
  suback,
  subscribe,
  unknownId,
  unsuback,
  unsubscribe,
} from './case.ts';

export type Place =
  | 'CONNECT'
  | 'will'
  | 'PUBLISH'
  | 'PUBACK'
  | 'PUBREC'
  | 'PUBREL'
  | 'PUBCOMP'
  | 'SUBSCRIBE'
  | 'UNSUBSCRIBE'
  | 'DISCONNECT'
  | 'AUTH';

export interface Carrier {
  readonly place: Place;
  readonly before: () => readonly Step[];
  /** The packet around a block that begins with its length. */
  readonly packet: (block: Buffer) => Buffer;
  /** What a legal block gets. */
  readonly fine: Reaction;
  readonly delivers: readonly Delivered[];
  readonly refuses: (code: number) => Reaction;
}

function afterConnect(place: Place, make: (block: Buffer) => Buffer, fine: Reaction): Carrier {
  const refuses = (code: number): Reaction => refused(5, code);
  return { place, before: () => [connected(5)], packet: make, fine, delivers: [], refuses };
}

function atConnect(place: Place, make: (block: Buffer) => Buffer): Carrier {
  const refuses = (code: number): Reaction => notAccepted(5, code);
  return { place, before: () => [], packet: make, fine: accepted, delivers: [], refuses };
}

/** An acknowledgement of a packet id that nobody knows. */
function acknowledgement(place: Place, header: number, fine: Reaction): Carrier {
  return afterConnect(place, (block) => packet(header, u16(7), 0, block), fine);
}

export const carriers: readonly Carrier[] = [
  atConnect('CONNECT', (properties) => connect(5, { properties })),
  atConnect('will', (block) => connect(5, { flags: 6, payload: [str(clientId()), block, str('will'), str('w')] })),
  {
    ...afterConnect('PUBLISH', (properties) => publish(5, { topic: 'carrier', properties }), silence),
    delivers: [{ topic: 'carrier', payload: 'p' }],
  },
  acknowledgement('PUBACK', 0x40, silence),
  acknowledgement('PUBREC', 0x50, answers(unknownId(5, 'PUBREL'))),
  acknowledgement('PUBREL', 0x62, answers(unknownId(5, 'PUBCOMP'))),
  acknowledgement('PUBCOMP', 0x70, silence),
  afterConnect('SUBSCRIBE', (block) => subscribe(5, [str('quiet'), 0], block), answers(suback(5, 0))),
  afterConnect('UNSUBSCRIBE', (block) => unsubscribe(5, [str('quiet')], block), answers(unsuback(5, 0x11))),
  afterConnect('DISCONNECT', (block) => packet(0xe0, 0, block), closed),
  // Never legal here, as no CONNECT with a method is accepted: well formed, it is a protocol error.
  afterConnect('AUTH', (block) => packet(0xf0, 0x18, withMethod(block)), refused(5, 0x82)),
];

export function carrierOf(place: Place): Carrier {
  const found = carriers.find((carrier) => carrier.place === place);
  if (found === undefined) throw new Error(`no carrier ${place}`);
  return found;
}

/** AUTH needs a method beside whatever is asked of it. A block whose length is one byte and true gets one in front. */
function withMethod(block: Buffer): Buffer {
  const content = block.subarray(1);
  const hasMethod = content[0] === 21 || content[0] === 22;
  if (hasMethod || block[0] !== content.length) return block;
  return props(bytes(property.authenticationMethod('m')), content);
}
