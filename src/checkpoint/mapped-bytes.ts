import { constants } from 'node:buffer';
import { mapFile, releasePages } from '../tensor/backends/index.js';

/**
 * The bytes of a file, mapped into memory at once; where it is larger than an array may be (4 GiB under Node.js 20),
 * every range that is asked for is mapped by itself.
 */
export class MappedBytes {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #whole: Uint8Array | undefined;
  /** By where they lie: a range is mapped once. */
  readonly #ranges = new Map<string, Uint8Array>();

  private constructor(path: string, sizeBytes: number, whole: Uint8Array | undefined) {
    this.#path = path;
    this.sizeBytes = sizeBytes;
    this.#whole = whole;
  }

  /** @returns undefined where files cannot be mapped, for want of the addon */
  static open(
    path: string,
    sizeBytes: number,
    mostBytes = constants.MAX_LENGTH,
  ): MappedBytes | undefined {
    const whole = sizeBytes <= mostBytes;
    const mapped = whole ? mapFile(path) : mapFile(path, 0, 0);
    return mapped && new MappedBytes(path, sizeBytes, whole ? mapped : undefined);
  }

  /** What the file has of a range. */
  view(offset: number, sizeBytes: number): Uint8Array {
    if (this.#whole) return this.#whole.subarray(offset, offset + sizeBytes);
    const place = `${offset} ${sizeBytes}`;
    const view = this.#ranges.get(place) ?? mapFile(this.#path, offset, sizeBytes);
    this.#ranges.set(place, view as Uint8Array);
    return view as Uint8Array;
  }

  /** Lets go of the memory behind a range, until it is asked for or read again. */
  release(offset: number, sizeBytes: number): void {
    const place = `${offset} ${sizeBytes}`;
    const view = this.#whole ? this.view(offset, sizeBytes) : this.#ranges.get(place);
    if (view) releasePages(view);
    this.#ranges.delete(place);
  }
}
