import { LlmkitError } from '../../errors.js';
import type { DataFormat } from './format.js';

/** Any other keys: `template` names the ones to use, the last of them is the completion. */
export const fields: DataFormat = {
  keys: 'any, named by a template',
  matches: () => false,
  parse({ value, where }) {
    const texts = Object.entries(value).flatMap(([key, item]) =>
      typeof item === 'string' || typeof item === 'number' || typeof item === 'boolean'
        ? [[key, String(item)] as const]
        : [],
    );
    if (texts.length > 0)
      return { kind: 'prompt', fields: Object.fromEntries(texts), messages: [] };
    throw new LlmkitError(
      'config',
      `${where}: expected texts under the template's names, got none`,
    );
  },
};
