/** A copy that is kept: in memory of its own, since a part of Node's pool would keep the whole 8 KiB that it is of. */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
