import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hashTokenizer } from '../tokenizer/tokenizer.js';
import type { Manifest } from './manifest.js';

/** What a manifest says of a folder's tokenizer; nothing where it has none. */
export async function tokenizerHashes(
  folder: string,
): Promise<Pick<Manifest, 'tokenizer' | 'chat_template'>> {
  if (!existsSync(join(folder, 'tokenizer.json'))) return {};
  const { hash, chatTemplateHash } = await hashTokenizer(folder);
  return { tokenizer: hash, ...(chatTemplateHash && { chat_template: chatTemplateHash }) };
}
