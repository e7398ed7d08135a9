import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import type { DataRecord } from '../data/document.js';
import { readRecords } from '../data/records.js';
import { LlmkitError } from '../errors.js';

/**
 * The rows of a data set: JSONL (or one JSON array), or parquet by its name.
 *
 * @throws LlmkitError `config` naming the file and the line
 */
export async function readRows(path: string): Promise<readonly DataRecord[]> {
  const rows = path.endsWith('.parquet') ? await parquetRows(path) : [...readRecords(path)];
  if (rows.length > 0) return rows;
  throw new LlmkitError('config', `${path}: expected at least one document, got an empty file`);
}

async function parquetRows(path: string): Promise<readonly DataRecord[]> {
  try {
    const file = await asyncBufferFromFile(path);
    const rows = await parquetReadObjects({ file, compressors });
    return rows.map((row, i) => ({
      value: Object.fromEntries(Object.entries(row).map(([key, value]) => [key, plain(value)])),
      where: `${path}: row ${i + 1}`,
    }));
  } catch (error) {
    throw new LlmkitError(
      'config',
      `${path}: not a readable parquet file: ${(error as Error).message}`,
    );
  }
}

/** Parquet's 64-bit integers as the numbers JSON has. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  return Array.isArray(value) ? value.map(plain) : value;
}

/** A row's fields, checked as they are read: an error names the place and what was expected. */
export class Fields {
  readonly #record: DataRecord;
  readonly #expected: string;

  /** @param expected the fields of a good row, `{text, label}` */
  constructor(record: DataRecord, expected: string) {
    this.#record = record;
    this.#expected = expected;
  }

  text(name: string): string {
    const value = this.value(name);
    if (typeof value === 'string') return value;
    throw this.problem(name, 'a text');
  }

  texts(name: string): readonly string[] {
    const value = this.value(name);
    const isTexts = Array.isArray(value) && value.every((item) => typeof item === 'string');
    if (isTexts && value.length > 0) return value;
    throw this.problem(name, 'a list of texts');
  }

  /** A place in `choices`: 0, "0", or the choice's own text. */
  index(name: string, choices: readonly string[]): number {
    const value = this.value(name);
    const isNumber =
      typeof value === 'number' || (typeof value === 'string' && /^\s*\d+\s*$/.test(value));
    const index = isNumber ? Number(value) : choices.indexOf(String(value));
    if (Number.isInteger(index) && index >= 0 && index < choices.length) return index;
    throw this.problem(name, `0 to ${choices.length - 1} or one of the choices`);
  }

  /** A place in `labels`: the label itself, else its number. */
  label(name: string, labels: readonly string[]): number {
    const byName = labels.indexOf(String(this.value(name)));
    if (byName >= 0) return byName;
    const index = this.value(name);
    if (Number.isInteger(index) && Number(index) >= 0 && Number(index) < labels.length) {
      return Number(index);
    }
    throw this.problem(name, `one of the labels ${labels.join(', ')}`);
  }

  problem(name: string, wanted: string): LlmkitError {
    const value = JSON.stringify(this.#record.value[name]) ?? 'nothing';
    const got = value.length > 60 ? `${value.slice(0, 60)}…` : value;
    return new LlmkitError(
      'config',
      `${this.#record.where}: ${name}: expected ${wanted}, got ${got}; a document has ${this.#expected}`,
    );
  }

  /** Any value but null. @throws LlmkitError `config` when it is missing */
  value(name: string): unknown {
    const { value, where } = this.#record;
    if (value[name] !== undefined && value[name] !== null) return value[name];
    const present = Object.keys(value).join(', ') || 'no fields';
    throw new LlmkitError(
      'config',
      `${where}: the field ${name} is missing; expected ${this.#expected}, got ${present}`,
    );
  }
}
