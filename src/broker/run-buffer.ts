/**
 * Memory in which deliver.ts encodes packets back to back. Runs are slices of one slab, so a packet is written once and
 * never copied on its way to the sockets; a used-up slab is left to those who still hold slices of it.
 */

/** Bytes of a slab: what a stalled subscriber can hold on to for one small slice. */
const SLAB_BYTES = 64 * 1024;

export class RunBuffer {
  memory: Buffer = Buffer.alloc(0);
  /** Packets in the current run, and the largest one in bytes. */
  count = 0;
  largest = 0;
  #start = 0;
  #end = 0;

  hasRoom(size: number): boolean {
    return this.#end + size <= this.memory.length;
  }

  /** Starts a slab with room for `size`; the run was taken before. */
  makeRoom(size: number): void {
    this.memory = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, size));
    this.#start = 0;
    this.#end = 0;
  }

  /** Adds a packet of `size` bytes to the run and returns the offset at which it is to be written. */
  reserve(size: number): number {
    const offset = this.#end;
    this.#end += size;
    this.count++;
    if (size > this.largest) this.largest = size;
    return offset;
  }

  /** The packets of the run; the next one starts behind them. */
  take(): Buffer {
    const packets = this.memory.subarray(this.#start, this.#end);
    this.#start = this.#end;
    this.count = 0;
    this.largest = 0;
    return packets;
  }
}
