/**
 * Copies that are kept, in memory of their own: a small one in Node's pool, or a slice of a chunk or a slab, keeps all that it is a part of
 * for as long as it is kept itself.
 */

export function ownCopy(bytes: Uint8Array): Buffer {
  return joinOwn([bytes]);
}

/** All `parts`, one behind the other. */
export function joinOwn(parts: readonly Uint8Array[]): Buffer {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  const copy = Buffer.allocUnsafeSlow(bytes);
  let end = 0;
  for (const part of parts) {
    copy.set(part, end);
    end += part.length;
  }
  return copy;
}
