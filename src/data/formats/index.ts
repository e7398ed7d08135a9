import { LlmkitError } from '../../errors.js';
import type { DataRecord } from '../document.js';
import { alpaca } from './alpaca.js';
import { fields } from './fields.js';
import type { DataFormat } from './format.js';
import { messages } from './messages.js';
import { promptCompletion } from './prompt-completion.js';
import { text } from './text.js';

/** The data formats by the name that `format:` takes, in the order they are looked for. */
export const dataFormats = {
  messages,
  prompt_completion: promptCompletion,
  alpaca,
  text,
  fields,
} as const satisfies Record<string, DataFormat>;

export type FormatName = keyof typeof dataFormats;

/**
 * The format of a file, told by the keys of its first record.
 *
 * @param hasTemplate records of unknown keys are then read as `fields`
 * @throws LlmkitError `config` listing the keys of every format
 */
export function detectFormat({ value, where }: DataRecord, hasTemplate: boolean): DataFormat {
  for (const format of Object.values(dataFormats)) if (format.matches(value)) return format;
  if (hasTemplate) return fields;
  const known = Object.entries(dataFormats).map(([name, format]) => `${name} (${format.keys})`);
  throw new LlmkitError(
    'config',
    `${where}: expected the keys of ${known.join(', ')}; got ${Object.keys(value).join(', ') || 'none'}`,
  );
}
