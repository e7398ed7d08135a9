import { constants, read } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { LlmkitError } from '../errors.js';
import { addonLoads, writeDirect } from '../tensor/backends/native-services.js';
import type { FileRange } from './hash-threads.js';

/** Written bytes that are worth a flush. */
const FLUSH_BYTES = 2 ** 25;
/** One call may not write more than 2 GiB. */
const PIECE_BYTES = 2 ** 30;
/** Of another file, in memory at one time: they stay in a processor's cache. */
export const COPIED_BYTES = 2 ** 22;

/** Of a file, or of one of its parts, that is worth writing past the system's memory. */
const DIRECT_FILE_BYTES = 2 ** 23;
const DIRECT_BYTES = 2 ** 17;

const readInto = promisify(read);

/**
 * A new file that is written at any place, by several writers at a time. What is written goes on its
 * way to the disk at once, so that little is left to wait for when the file is synced at the end. A large file goes past
 * the system's memory where that is possible: it would have to find room there for all of it.
 */
export class FlushedFile {
  readonly #handle: FileHandle;
  readonly #direct: FileHandle | undefined;
  #unflushedBytes = 0;
  #flushing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  private constructor(handle: FileHandle, direct: FileHandle | undefined) {
    this.#handle = handle;
    this.#direct = direct;
  }

  /** @param sizeBytes that the file will have, where it is known and will hardly be read soon */
  static async create(path: string, sizeBytes = 0): Promise<FlushedFile> {
    const handle = await open(path, 'wx');
    return new FlushedFile(handle, await openDirect(path, handle, sizeBytes));
  }

  /** @throws also what a flush of earlier bytes met: the system reports it once */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    this.#throwFailure();
    if (this.#direct && bytes.length >= DIRECT_BYTES) return this.#writeDirect(bytes, position);
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
    const direct = this.#direct && sizeBytes >= DIRECT_BYTES;
    const buffer = Buffer.allocUnsafeSlow(direct ? 0 : Math.min(sizeBytes, COPIED_BYTES));
    for (let done = 0; done < sizeBytes; ) {
      const length = Math.min(sizeBytes - done, COPIED_BYTES);
      if (direct) {
        const piece = { descriptor, offset: offset + done, sizeBytes: length };
        await this.#writeDirect(piece, position + done);
        done += length;
        continue;
      }
      const { bytesRead } = await readInto(descriptor, buffer, 0, length, offset + done);
      if (bytesRead === 0) {
        const problem = `expected ${sizeBytes} bytes of a tensor, got ${done}`;
        throw new LlmkitError('checkpoint', `CheckpointWriter: ${problem}`);
      }
      await this.write(buffer.subarray(0, bytesRead), position + done);
      done += bytesRead;
    }
  }

  /** Past the system's memory: nothing is left to flush. */
  async #writeDirect(source: Uint8Array | FileRange, position: number): Promise<void> {
    const file = { descriptor: this.#handle.fd, direct: (this.#direct as FileHandle).fd };
    await writeDirect(file, position, source).catch(({ message }: Error) => {
      throw new LlmkitError('checkpoint', `CheckpointWriter: ${message}`);
    });
  }

  /**
   * @param sizeBytes of all that was written, where that may be less than was expected
   * @throws what a flush met
   */
  async close(sizeBytes?: number): Promise<void> {
    await this.#flushing;
    if (this.#direct && sizeBytes !== undefined) await this.#handle.truncate(sizeBytes);
    await this.#direct?.close();
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

/** A second handle of a large file, which is given its size; undefined where there is none past the system's memory. */
async function openDirect(
  path: string,
  handle: FileHandle,
  sizeBytes: number,
): Promise<FileHandle | undefined> {
  const flag = constants.O_DIRECT as number | undefined; // of Linux only
  if (sizeBytes < DIRECT_FILE_BYTES || flag === undefined || !addonLoads()) return undefined;
  const direct = await open(path, constants.O_WRONLY | flag).catch(() => undefined);
  if (direct) await handle.truncate(sizeBytes); // files that grow are written by one at a time
  return direct;
}
