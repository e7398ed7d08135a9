import type { LibraryDecoder } from './library.js';

const BYTE_TOKEN = /^<0x([\dA-Fa-f]{2})>$/;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Value of a byte token such as `<0xE2>`. */
export function byteOf(token: string): number | undefined {
  const digits = BYTE_TOKEN.exec(token)?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

/** Runs of byte tokens become text; where a run is not UTF-8, each of its bytes is a replacement character. */
function decodeBytes(tokens: readonly string[]): string[] {
  const texts: string[] = [];
  let run: number[] = [];
  const endRun = () => {
    if (run.length > 0) texts.push(textOf(run));
    run = [];
  };
  for (const token of tokens) {
    const byte = byteOf(token);
    if (byte === undefined) {
      endRun();
      texts.push(token);
    } else run.push(byte);
  }
  endRun();
  return texts;
}

function textOf(bytes: readonly number[]): string {
  try {
    return UTF8.decode(Uint8Array.from(bytes));
  } catch {
    return '\ufffd'.repeat(bytes.length);
  }
}

/**
 * Makes byte fallback decode as the Rust library does: the TypeScript one drops a byte order mark and gives one
 * replacement character for several bad bytes.
 *
 * @returns whether the decoder has a byte fallback
 */
export function fixByteFallback(decoder: LibraryDecoder | null): boolean {
  if (decoder?.decoders) return decoder.decoders.map(fixByteFallback).includes(true);
  if (decoder?.config.type !== 'ByteFallback') return false;
  decoder.decode_chain = decodeBytes;
  return true;
}
