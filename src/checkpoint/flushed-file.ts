import { read } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { LlmkitError } from '../errors.js';
import type { FileRange } from './hash-threads.js';

/** Written bytes that are worth a flush. */
const FLUSH_BYTES = 2 ** 25;
/** One call may not write more than 2 GiB. */
const PIECE_BYTES = 2 ** 30;
/** Of another file, in memory at one time: they stay in a processor's cache. */
export const COPIED_BYTES = 2 ** 22;

const readInto = promisify(read);

/**
 * A new file that is written at any place, by several writers at a time. What is written goes on its
 * way to the disk at once, so that little is left to wait for when the file is synced at the end.
 */
export class FlushedFile {
  readonly #handle: FileHandle;
  #unflushedBytes = 0;
  #flushing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async create(path: string): Promise<FlushedFile> {
    return new FlushedFile(await open(path, 'wx'));
  }

  /** @throws also what a flush of earlier bytes met: the system reports it once */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    this.#throwFailure();
    let done = 0;
    while (done < bytes.length) {
      const piece = Math.min(bytes.length - done, PIECE_BYTES);
      const { bytesWritten } = await this.#handle.write(bytes, done, piece, position + done);
      done += bytesWritten;
    }
    this.#unflushedBytes += bytes.length;
    if (this.#unflushedBytes >= FLUSH_BYTES) this.#flushing ??= this.#flush();
  }

  /**
   * Copies a range of another file, which must stay open meanwhile.
   *
   * @throws LlmkitError `checkpoint` when that ends before the range
   */
  async copy({ descriptor, offset, sizeBytes }: FileRange, position: number): Promise<void> {
    const buffer = Buffer.allocUnsafeSlow(Math.min(sizeBytes, COPIED_BYTES));
    for (let done = 0; done < sizeBytes; ) {
      const length = Math.min(sizeBytes - done, buffer.length);
      const { bytesRead } = await readInto(descriptor, buffer, 0, length, offset + done);
      if (bytesRead === 0) {
        const problem = `expected ${sizeBytes} bytes of a tensor, got ${done}`;
        throw new LlmkitError('checkpoint', `CheckpointWriter: ${problem}`);
      }
      await this.write(buffer.subarray(0, bytesRead), position + done);
      done += bytesRead;
    }
  }

  /** @throws what a flush met */
  async close(): Promise<void> {
    await this.#flushing;
    await this.#handle.close();
    this.#throwFailure();
  }

  async #flush(): Promise<void> {
    this.#unflushedBytes = 0;
    try {
      await this.#handle.datasync();
    } catch (error) {
      this.#failure = { error };
    }
    this.#flushing = undefined;
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }
}
