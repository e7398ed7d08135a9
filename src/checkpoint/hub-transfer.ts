import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { LlmkitError } from '../errors.js';

/** A file of a commit, as the hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** sha256 of the content for large files, else git's sha1 of the blob. */
  readonly etag: string;
}

/** A transfer in progress. */
export interface Transfer {
  readonly url: string;
  readonly file: HubFile;
  /** Where the whole file goes; `<target>.incomplete` holds what has arrived so far. */
  readonly target: string;
  readonly fetch: typeof fetch;
  readonly onProgress?: ((receivedBytes: number) => void) | undefined;
}

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 100;

/**
 * Downloads a file, going on from what an earlier attempt left, also after a cut connection; its digest is checked
 * before it gets its name.
 *
 * @throws LlmkitError `checkpoint` when the hub cannot be reached, refuses, or sends something else
 */
export async function download(transfer: Transfer): Promise<void> {
  const { target } = transfer;
  const incomplete = `${target}.incomplete`;
  await mkdir(dirname(target), { recursive: true });
  await receiveAll(transfer, incomplete);
  await checkDigest(transfer, incomplete);
  await rename(incomplete, target);
}

async function receiveAll(transfer: Transfer, incomplete: string): Promise<void> {
  let reason = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) await sleep(FIRST_PAUSE_MS * 2 ** (attempt - 1));
    try {
      await receive(transfer, incomplete);
      if ((await sizeOf(incomplete)) === transfer.file.sizeBytes) return;
      reason = 'it ended early';
    } catch (error) {
      if (error instanceof LlmkitError) throw error;
      reason = reasonOf(error);
    }
  }
  throw new LlmkitError(
    'checkpoint',
    `${transfer.url}: the connection broke ${ATTEMPTS} times (${reason}); the same command goes on from where it was`,
  );
}

/** Appends the rest of the file to what is there. */
async function receive(
  { url, file, fetch, onProgress }: Transfer,
  incomplete: string,
): Promise<void> {
  let start = await sizeOf(incomplete);
  if (start > file.sizeBytes) {
    await rm(incomplete);
    start = 0;
  }
  if (start === file.sizeBytes && start > 0) return;
  const response = await fetch(url, start > 0 ? { headers: { Range: `bytes=${start}-` } } : {});
  if (response.status >= 500 || response.status === 429) throw new Error(`HTTP ${response.status}`);
  if (!response.ok) {
    throw new LlmkitError(
      'checkpoint',
      `${url}: expected the file, got HTTP ${response.status} ${response.statusText}`,
    );
  }
  let received = response.status === 206 ? start : 0; // a server without ranges sends it from the start
  const count = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      received += chunk.length;
      if (received > file.sizeBytes) {
        throw new LlmkitError('checkpoint', `${url}: expected ${file.sizeBytes} bytes, got more`);
      }
      onProgress?.(received);
      yield chunk;
    }
  };
  const body = Readable.fromWeb((response.body ?? new Blob([]).stream()) as ReadableStream);
  const flags = received > 0 ? 'a' : 'w';
  await pipeline(body, count, createWriteStream(incomplete, { flags }));
}

/** What a failed fetch says went wrong: the cause behind 'fetch failed'. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code, message } = cause as NodeJS.ErrnoException;
  return message || code || String(cause);
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

/** The etag is the sha256 of a large file, or git's sha1 of a small one. */
async function checkDigest({ url, file }: Transfer, incomplete: string): Promise<void> {
  const isSha256 = file.etag.length === 64;
  const hash = createHash(isSha256 ? 'sha256' : 'sha1');
  if (!isSha256) hash.update(`blob ${file.sizeBytes}\0`);
  await pipeline(createReadStream(incomplete), hash);
  const digest = hash.digest('hex');
  if (digest === file.etag) return;
  await rm(incomplete);
  throw new LlmkitError(
    'checkpoint',
    `${url}: expected content with digest ${file.etag}, got ${digest}; try again`,
  );
}
