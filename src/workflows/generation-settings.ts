import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LlmkitError } from '../errors.js';
import type { GenerateOptions } from '../generate/decode.js';
import {
  type GenerationConfig,
  generationConfigSchema,
  resolveSampling,
} from '../generate/settings.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type PromptTemplate, promptTemplateOf, renderChat } from './chat-prompt.js';
import type { CompletionRequest } from './completion.js';

/** New tokens where the caller names no number. */
const DEFAULT_NEW_TOKENS = 256;

/** What a model's folder and its adapter say about generating. */
export interface GenerationSettings {
  readonly tokenizer: Tokenizer;
  readonly template: PromptTemplate | undefined;
  readonly defaults: GenerationConfig;
}

/** Reads generation_config.json and the prompt template. */
export async function readGenerationSettings(
  folder: string,
  tokenizer: Tokenizer,
  adapter: string | undefined,
): Promise<GenerationSettings> {
  const defaults = await readGenerationConfig(folder);
  const folders = adapter === undefined ? [folder] : [adapter, folder];
  return { tokenizer, template: await promptTemplateOf(tokenizer, folders), defaults };
}

/**
 * A request with everything resolved: the prompt's ids, and how tokens are chosen.
 *
 * @throws LlmkitError `usage` when it cannot be answered
 */
export function resolveRequest(
  { tokenizer, template, defaults }: GenerationSettings,
  request: CompletionRequest,
): GenerateOptions {
  const { prompt, sequences = 1, echo = false, stop = [] } = request;
  const { seed, logprobs, signal, onText } = request;
  const sampling = resolveSampling(request, defaults);
  if (sequences > 1 && sampling.temperature === 0) {
    throw new LlmkitError(
      'usage',
      `--num-return-sequences ${sequences}: greedy decoding gives the same text ${sequences} times; sample with --temperature 1`,
    );
  }
  const isText = typeof prompt === 'string';
  const promptIds = isText ? idsOf(tokenizer, prompt) : renderChat(tokenizer, template, prompt);
  const maxNewTokens = request.maxNewTokens ?? DEFAULT_NEW_TOKENS;
  const texts = { promptIds, maxNewTokens, stop, sequences, echo };
  return { ...texts, sampling, seed, logprobs, signal, onText };
}

/** A text's ids; an empty one starts from the beginning-of-sequence token. */
function idsOf(tokenizer: Tokenizer, prompt: string): readonly number[] {
  const ids = tokenizer.encode(prompt);
  if (ids.length > 0) return ids;
  const first = tokenizer.bosId ?? tokenizer.eosIds[0];
  if (first !== undefined) return [first];
  throw new LlmkitError(
    'usage',
    'generate: an empty prompt starts from the BOS token, and this tokenizer has none; give a prompt',
  );
}

/** generation_config.json of a checkpoint; empty where there is none. */
async function readGenerationConfig(folder: string): Promise<GenerationConfig> {
  const path = join(folder, 'generation_config.json');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}';
    throw error;
  });
  const parsed = generationConfigSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const { path: place = [], message = '' } = parsed.error.issues[0] ?? {};
  throw new LlmkitError('checkpoint', `${[path, ...place].join(': ')}: ${message}`);
}

/** undefined for what is no JSON: the schema refuses it. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
