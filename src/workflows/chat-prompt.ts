import * as z from 'zod';
import { renderPrompt, type TemplateRecord } from '../data/template.js';
import { LlmkitError } from '../errors.js';
import { type ChatTemplate, parseChatTemplate } from '../tokenizer/chat-template.js';
import type { ChatMessage, Tokenizer } from '../tokenizer/tokenizer.js';
import { readManifest } from './manifest.js';

/** How a conversation becomes a prompt: a chat template, or the text template of a training. */
export type PromptTemplate =
  | { readonly kind: 'chat'; readonly template: ChatTemplate }
  | { readonly kind: 'text'; readonly text: string };

const recordSchema: z.ZodType<TemplateRecord> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('chat'), source: z.string(), hash: z.string() }),
  z.object({ kind: z.literal('text'), text: z.string() }),
  z.object({ kind: z.literal('none') }),
]);

/**
 * The template that training recorded, else the tokenizer's; undefined when there is none.
 *
 * @param folders of the adapter and of the model (merge hands an adapter's template on); the first
 *   that records one counts
 */
export async function promptTemplateOf(
  tokenizer: Tokenizer,
  folders: readonly string[],
): Promise<PromptTemplate | undefined> {
  for (const folder of folders) {
    const record = await recordedTemplate(folder);
    if (record === undefined) continue;
    if (record.kind === 'text') return record;
    if (record.kind === 'none' || record.hash === tokenizer.chatTemplate?.hash) break;
    const { source } = record;
    const where = `${folder}/llmkit.json`;
    return {
      kind: 'chat',
      template: parseChatTemplate(source, specialTokens(tokenizer), where),
    };
  }
  return tokenizer.chatTemplate && { kind: 'chat', template: tokenizer.chatTemplate };
}

/** What a chat template may name. */
function specialTokens(tokenizer: Tokenizer): Record<string, string> {
  const { bosId, eosIds, padId } = tokenizer;
  const ids = { bos_token: bosId, eos_token: eosIds[0], pad_token: padId };
  const known = Object.entries(ids).filter(
    (entry): entry is [string, number] => entry[1] !== undefined,
  );
  return Object.fromEntries(known.map(([name, id]) => [name, tokenizer.tokenText(id)]));
}

async function recordedTemplate(folder: string): Promise<TemplateRecord | undefined> {
  const manifest = await readManifest(folder);
  if (manifest?.template === undefined) return undefined;
  const parsed = recordSchema.safeParse(manifest.template);
  if (parsed.success) return parsed.data;
  throw new LlmkitError(
    'config',
    `${folder}/llmkit.json: template is not one that lora-train writes`,
  );
}

/**
 * Ids of a conversation, up to where the answer begins.
 *
 * @throws LlmkitError `usage` when there is no template
 */
export function renderChat(
  tokenizer: Tokenizer,
  template: PromptTemplate | undefined,
  messages: readonly ChatMessage[],
): readonly number[] {
  if (!template) {
    throw new LlmkitError(
      'usage',
      '--chat: this model has no chat template; write the whole prompt with --prompt, without --chat',
    );
  }
  if (template.kind === 'chat') {
    const text = template.template.render(messages, { addGenerationPrompt: true });
    return tokenizer.encode(text, { specialTokens: false });
  }
  // A text template knows one turn: the last user's text.
  const system = messages.find(({ role }) => role === 'system')?.content;
  const user = messages.findLast(({ role }) => role === 'user')?.content ?? '';
  return tokenizer.encode(renderPrompt(template.text, user, system));
}
