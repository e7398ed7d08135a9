import type { WeightData } from './weight.js';

/**
 * Memory for the parts of matrices that are rounded, or packed, one after another. What is given back is handed out
 * again: V8 would collect garbage every few dozen megabytes, and fresh pages have to be cleared.
 */
export class ReusedMemory {
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #used = new Set<ArrayBufferLike>();

  /** Of any content. */
  take(sizeBytes: number): ArrayBuffer {
    const buffer = this.#free.get(sizeBytes)?.pop() ?? new ArrayBuffer(sizeBytes);
    this.#used.add(buffer);
    return buffer;
  }

  /** Takes back those of a matrix's parts that it handed out; nobody may use them afterwards. */
  giveBack({ codes, scales, zeros }: WeightData): void {
    for (const part of [codes, scales, zeros]) {
      const buffer = ArrayBuffer.isView(part) ? part.buffer : undefined;
      if (!(buffer instanceof ArrayBuffer) || !this.#used.delete(buffer)) continue;
      const free = this.#free.get(buffer.byteLength);
      if (free) free.push(buffer);
      else this.#free.set(buffer.byteLength, [buffer]);
    }
  }
}
