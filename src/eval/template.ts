import type { DataRecord } from '../data/document.js';
import { LlmkitError } from '../errors.js';

/**
 * A prompt of a template: `{name}` becomes the row's field, `\n` a new line.
 *
 * @throws LlmkitError `config` naming the field the row lacks
 */
export function renderTemplate(template: string, { value, where }: DataRecord): string {
  return template.replaceAll('\\n', '\n').replace(/\{([A-Za-z_]\w*)\}/g, (_, name: string) => {
    const field = value[name];
    if (typeof field === 'string' || typeof field === 'number') return String(field);
    throw new LlmkitError(
      'config',
      `${where}: the prompt has {${name}}, the document has ${Object.keys(value).join(', ')}; name one of these in --prompt-template`,
    );
  });
}
