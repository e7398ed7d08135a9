/** Below this length arrays are pooled by exact length, above it by eighths of an octave. */
const EXACT_LENGTHS = 256;
/** What is in use and what waits for reuse may together exceed the peak use by this factor. */
const HEADROOM = 1.35;
/** Arrays from this size on begin with a line of the cache: kernels write such past the caches. */
const ALIGNED_BYTES = 2 ** 20;
/** Free arrays up to this size in all are kept whatever the peak. */
const SMALLEST_CAP_BYTES = 16 * 2 ** 20;

interface SizeClass {
  readonly free: Float32Array[];
  lastUse: number;
}

/**
 * Arrays of float32 and of bf16 that are used again: a step of training or decoding needs the same sizes as the
 * step before, and fresh memory costs a page fault every 4 KiB. What it keeps is bounded by the
 * largest use so far; the sizes that were not asked for the longest go first.
 */
export class BufferPool {
  readonly #classes = new Map<number, SizeClass>();
  readonly #alignedBuffer: (bytes: number) => ArrayBuffer;
  #uses = 0;
  #inUseBytes = 0;
  #freeBytes = 0;
  #peakBytes = 0;

  /** @param alignedBuffer makes memory of any content */
  constructor(alignedBuffer: (bytes: number) => ArrayBuffer) {
    this.#alignedBuffer = alignedBuffer;
  }

  /** Bytes that wait for reuse. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Bytes handed out and not yet released. */
  get inUseBytes(): number {
    return this.#inUseBytes;
  }

  /** An array of this length, of any content. */
  acquire(length: number): Float32Array {
    const capacity = capacityFor(length);
    const bytes = capacity * 4;
    this.#inUseBytes += bytes;
    if (this.#inUseBytes > this.#peakBytes) this.#peakBytes = this.#inUseBytes;
    const sizeClass = this.#classes.get(capacity);
    if (sizeClass !== undefined) {
      sizeClass.lastUse = ++this.#uses;
      const free = sizeClass.free.pop();
      if (free !== undefined) {
        this.#freeBytes -= bytes;
        return free.length === length ? free : new Float32Array(free.buffer, 0, length);
      }
    }
    const buffer = bytes < ALIGNED_BYTES ? new ArrayBuffer(bytes) : this.#alignedBuffer(bytes);
    return new Float32Array(buffer, 0, length);
  }

  /** The same for the 16 bits of bf16: in the memory of half as many float32 values. */
  acquireHalves(length: number): Uint16Array {
    return new Uint16Array(this.acquire(floatsFor(length)).buffer, 0, length);
  }

  /** Gives back an array that was acquired; nobody may use it afterwards. */
  release(array: Float32Array | Uint16Array): void {
    const values =
      array instanceof Float32Array
        ? array
        : new Float32Array(array.buffer as ArrayBuffer, 0, floatsFor(array.length));
    const capacity = capacityFor(values.length);
    this.#inUseBytes -= capacity * 4;
    this.#freeBytes += capacity * 4;
    const sizeClass = this.#classes.get(capacity);
    if (sizeClass !== undefined) sizeClass.free.push(values);
    else this.#classes.set(capacity, { free: [values], lastUse: ++this.#uses });
    const cap = Math.max(this.#peakBytes * HEADROOM - this.#inUseBytes, SMALLEST_CAP_BYTES);
    while (this.#freeBytes > cap) this.#dropStalest();
  }

  #dropStalest(): void {
    let stalest: [capacity: number, SizeClass] | undefined;
    for (const entry of this.#classes) {
      if (entry[1].free.length === 0) continue;
      if (stalest === undefined || entry[1].lastUse < stalest[1].lastUse) stalest = entry;
    }
    if (stalest === undefined) return;
    stalest[1].free.pop();
    this.#freeBytes -= stalest[0] * 4;
  }
}

/** Float32 values in the memory of so many of bf16. */
function floatsFor(halves: number): number {
  return Math.ceil(halves / 2);
}

function capacityFor(length: number): number {
  if (length <= EXACT_LENGTHS) return length;
  const step = 2 ** (28 - Math.clz32(length - 1));
  return Math.ceil(length / step) * step;
}
