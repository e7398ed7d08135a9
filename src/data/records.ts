import { readFileSync } from 'node:fs';
import { LlmkitError } from '../errors.js';
import type { DataRecord } from './document.js';

const NEWLINE = 10;
const SHOWN_CHARACTERS = 40;

/**
 * The records of a JSONL file, or of a file that holds one JSON array. Blank lines are skipped.
 *
 * @throws LlmkitError `config` naming the file, the line and what was expected
 */
export function* readRecords(path: string): Generator<DataRecord> {
  const bytes = readBytes(path);
  if (startsWithArray(bytes)) yield* arrayRecords(path, bytes);
  else yield* lineRecords(path, bytes);
}

function readBytes(path: string): Buffer {
  try {
    const bytes = readFileSync(path);
    return bytes.subarray(0, 3).toString('latin1') === '\u00ef\u00bb\u00bf'
      ? bytes.subarray(3)
      : bytes;
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    const why = reason === 'ENOENT' ? 'there is no such file' : `it cannot be read (${reason})`;
    throw new LlmkitError('config', `data: expected a JSONL file at ${path}, but ${why}`);
  }
}

function startsWithArray(bytes: Buffer): boolean {
  return /^\s*\[/.test(bytes.subarray(0, 1024).toString('latin1'));
}

function* lineRecords(path: string, bytes: Buffer): Generator<DataRecord> {
  let line = 0;
  for (let start = 0; start < bytes.length; ) {
    const next = bytes.indexOf(NEWLINE, start);
    const end = next < 0 ? bytes.length : next;
    const text = bytes.toString('utf8', start, end).trim();
    const where = `${path}:${++line}`;
    if (text !== '') yield { value: asRecord(parse(text, where), where), where };
    start = end + 1;
  }
}

function* arrayRecords(path: string, bytes: Buffer): Generator<DataRecord> {
  const items = parse(bytes.toString('utf8'), path) as unknown[];
  for (const [i, item] of items.entries()) {
    const where = `${path}: item ${i + 1}`;
    yield { value: asRecord(item, where), where };
  }
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LlmkitError(
      'config',
      `${where}: expected a JSON object, got ${shorten(text)} (${(error as Error).message})`,
    );
  }
}

function asRecord(value: unknown, where: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new LlmkitError(
    'config',
    `${where}: expected a JSON object, got ${shorten(JSON.stringify(value))}`,
  );
}

function shorten(text: string): string {
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
