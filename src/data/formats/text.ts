import { type DataFormat, textOf } from './format.js';

/** `{"text": …}`: trained whole. */
export const text: DataFormat = {
  keys: 'text',
  matches: (value) => 'text' in value,
  parse: (record) => ({ kind: 'text', text: textOf(record, 'text') }),
};
