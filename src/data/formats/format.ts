import { LlmkitError } from '../../errors.js';
import type { DataRecord, Document } from '../document.js';

/** A shape of records: how it is known and how it is read. */
export interface DataFormat {
  /** For messages: the keys it has. */
  readonly keys: string;
  /** Whether a record looks like it. */
  matches(value: DataRecord['value']): boolean;
  /** @throws LlmkitError `config` naming the place and the key */
  parse(record: DataRecord): Document;
}

/** The text under a key. @throws LlmkitError `config` when it is not a text */
export function textOf({ value, where }: DataRecord, key: string): string {
  const text = value[key];
  if (typeof text === 'string') return text;
  const got = text === undefined ? `keys ${Object.keys(value).join(', ')}` : JSON.stringify(text);
  throw new LlmkitError('config', `${where}: expected a text under "${key}", got ${got}`);
}

/** The text under a key that may be left out or null. */
export function optionalTextOf(record: DataRecord, key: string): string {
  return (record.value[key] ?? '') === '' ? '' : textOf(record, key);
}
