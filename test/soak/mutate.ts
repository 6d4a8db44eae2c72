/**
 * Legal packets made illegal, one to three changes each. Most changes write the Remaining Length anew, so that the packet is whole and its
 * decoder is reached; others leave it wrong.
 */
import type { Random } from '../support/random.ts';
import type { Sample } from './samples.ts';

type Mutation = (bytes: Buffer, random: Random, samples: readonly Sample[]) => Buffer;

/** Values at which decoders go wrong. */
const interesting = [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, 0xc0, 0xed, 0xf4, 0x23, 0x2b, 0x2f, 0x24, 0x26, 0x0b, 0x23];

const mutations: readonly Mutation[] = [
  flipBits,
  overwrite,
  changeLength,
  cut,
  splice,
  duplicate,
  remove,
  insert,
  changeWord,
  changeHeader,
  noise,
];

export function mutate(bytes: Buffer, random: Random, samples: readonly Sample[]): Buffer {
  let changed = bytes;
  for (let left = 1 + random.below(3); left > 0; left--) changed = random.pick(mutations)(changed, random, samples);
  return changed;
}

function flipBits(bytes: Buffer, random: Random): Buffer {
  const changed = Buffer.from(bytes);
  for (let left = 1 + random.below(4); left > 0 && changed.length > 0; left--) {
    const at = random.below(changed.length);
    changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8));
  }
  return changed;
}

function overwrite(bytes: Buffer, random: Random): Buffer {
  const changed = Buffer.from(bytes);
  if (changed.length > 0) changed[random.below(changed.length)] = random.pick(interesting);
  return changed;
}

/** Remaining Length says something else than what is there. */
function changeLength(bytes: Buffer, random: Random): Buffer {
  const length = random.chance(0.5) ? random.below(40) : random.below(300_000);
  const field = encodeLength(length);
  if (random.chance(0.2)) field.push(...random.bytes(random.below(4)));
  return Buffer.concat([bytes.subarray(0, 1), Buffer.from(field), body(bytes)]);
}

function cut(bytes: Buffer, random: Random): Buffer {
  const content = body(bytes);
  return whole(bytes, content.subarray(0, random.below(content.length + 1)));
}

/** The beginning of one packet and the end of another. */
function splice(bytes: Buffer, random: Random, samples: readonly Sample[]): Buffer {
  const [content, other] = [body(bytes), body(random.pick(samples).bytes)];
  const [end, start] = [random.below(content.length + 1), random.below(other.length + 1)];
  return whole(bytes, Buffer.concat([content.subarray(0, end), other.subarray(start)]));
}

/** A part of the packet twice, as a field that comes again. */
function duplicate(bytes: Buffer, random: Random): Buffer {
  const content = body(bytes);
  const start = random.below(content.length + 1);
  const end = Math.min(content.length, start + random.below(20));
  return whole(bytes, Buffer.concat([content.subarray(0, end), content.subarray(start)]));
}

function remove(bytes: Buffer, random: Random): Buffer {
  const content = body(bytes);
  const start = random.below(content.length + 1);
  return whole(bytes, Buffer.concat([content.subarray(0, start), content.subarray(start + 1 + random.below(8))]));
}

function insert(bytes: Buffer, random: Random): Buffer {
  const content = body(bytes);
  const at = random.below(content.length + 1);
  return whole(
    bytes,
    Buffer.concat([content.subarray(0, at), random.bytes(1 + random.below(8)), content.subarray(at)]),
  );
}

/** Where this hits the length of a string, the string ends elsewhere. */
function changeWord(bytes: Buffer, random: Random): Buffer {
  const content = Buffer.from(body(bytes));
  if (content.length < 2) return bytes;
  const at = random.below(content.length - 1);
  content.writeUInt16BE(random.chance(0.7) ? random.below(content.length) : random.below(65_536), at);
  return whole(bytes, content);
}

function changeHeader(bytes: Buffer, random: Random): Buffer {
  const changed = Buffer.from(bytes);
  if (changed.length > 0)
    changed[0] = random.chance(0.5) ? random.below(256) : ((changed[0] ?? 0) & 0xf0) | random.below(16);
  return changed;
}

function noise(bytes: Buffer, random: Random): Buffer {
  const content = random.bytes(random.below(60));
  return random.chance(0.5) ? content : whole(bytes, content);
}

/** What follows the Remaining Length, as far as there is one. */
function body(bytes: Buffer): Buffer {
  let start = 1;
  while (start < 4 && (bytes[start] ?? 0) >= 128) start++;
  return bytes.subarray(Math.min(start + 1, bytes.length));
}

/** A packet of the same first byte around another body. */
function whole(bytes: Buffer, content: Buffer): Buffer {
  return Buffer.concat([Buffer.of(bytes[0] ?? 0), Buffer.from(encodeLength(content.length)), content]);
}

function encodeLength(length: number): number[] {
  const field: number[] = [];
  for (let left = length; ; left = Math.floor(left / 128)) {
    if (left < 128) return [...field, left];
    field.push((left % 128) | 128);
  }
}
