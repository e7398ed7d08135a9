import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LlmkitError } from '../errors.js';
import { type Generation, generate } from '../generate/decode.js';
import {
  type GenerationConfig,
  generationConfigSchema,
  resolveSampling,
} from '../generate/settings.js';
import { promptTemplateOf, renderChat } from './chat-prompt.js';
import { type Completion, type CompletionRequest, toCompletion } from './completion.js';
import { type OpenModel, type OpenModelOptions, openModel } from './open-model.js';

export type { Completion, CompletionRequest } from './completion.js';

/** New tokens where the caller names no number. */
export const DEFAULT_NEW_TOKENS = 256;

/** A model that writes. */
export interface Generator {
  /** What computes, e.g. `native (avx512, 2 threads)`. */
  readonly backend: string;
  complete(request: CompletionRequest): Promise<Completion>;
  close(): void;
}

/** Opens a model to write with. */
export async function openGenerator(options: OpenModelOptions): Promise<Generator> {
  const begunMs = performance.now();
  const open = await openModel(options);
  try {
    const defaults = await readGenerationConfig(open.folder);
    const template = await promptTemplateOf(open.tokenizer, options.adapter);
    const loadMs = performance.now() - begunMs;
    return {
      backend: open.backend.description,
      close: open.close,
      async complete(request) {
        const promptIds =
          typeof request.prompt === 'string'
            ? promptIdsOf(open, request.prompt)
            : renderChat(open.tokenizer, template, request.prompt);
        const generation = await continuePrompt(open, defaults, promptIds, request);
        const { model, backend } = { model: options.model, backend: open.backend.description };
        return toCompletion(generation, { request, promptIds, open, model, backend, loadMs });
      },
    };
  } catch (error) {
    open.close();
    throw error;
  }
}

/** A text's ids; an empty one starts from the beginning-of-sequence token. */
function promptIdsOf({ tokenizer }: OpenModel, prompt: string): readonly number[] {
  const ids = tokenizer.encode(prompt);
  if (ids.length > 0) return ids;
  const first = tokenizer.bosId ?? tokenizer.eosIds[0];
  if (first !== undefined) return [first];
  throw new LlmkitError(
    'usage',
    'generate: an empty prompt starts from the BOS token, and this tokenizer has none; give a prompt',
  );
}

function continuePrompt(
  { model, tokenizer }: OpenModel,
  defaults: GenerationConfig,
  promptIds: readonly number[],
  request: CompletionRequest,
): Promise<Generation> {
  const { sequences = 1, echo = false, stop = [], seed, logprobs, signal, onText } = request;
  const sampling = resolveSampling(request, defaults);
  if (sequences > 1 && sampling.temperature === 0) {
    throw new LlmkitError(
      'usage',
      `--num-return-sequences ${sequences}: greedy decoding gives the same text ${sequences} times; sample with --temperature 1`,
    );
  }
  const maxNewTokens = request.maxNewTokens ?? DEFAULT_NEW_TOKENS;
  const options = { promptIds, maxNewTokens, sampling, seed, stop, sequences, echo };
  return generate(model, tokenizer, { ...options, logprobs, signal, onText });
}

/** generation_config.json of a checkpoint; empty where there is none. */
async function readGenerationConfig(folder: string): Promise<GenerationConfig> {
  const path = join(folder, 'generation_config.json');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}';
    throw error;
  });
  try {
    return generationConfigSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new LlmkitError(
      'checkpoint',
      `${path}: not a generation config: ${(error as Error).message}`,
    );
  }
}
