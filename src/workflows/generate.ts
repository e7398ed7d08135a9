import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.js';
import { resolveModel } from '../checkpoint/hub.js';
import { LlmkitError } from '../errors.js';
import { generate, newTokenLimit } from '../generate/decode.js';
import { computesInF32 } from '../model/describe-compute.js';
import { decoderConfig } from '../model/families/index.js';
import { computeOf } from '../tensor/compute.js';
import { type KvDtype, type KvDtypeChoice, kvBytes, kvDtypeOf } from '../tensor/kv-dtype.js';
import { loadTokenizer } from '../tokenizer/tokenizer.js';
import { type Completion, type CompletionRequest, toCompletion } from './completion.js';
import { readGenerationSettings, resolveRequest } from './generation-settings.js';
import { type OpenModelOptions, openModel } from './open-model.js';

export type { Completion, CompletionRequest } from './completion.js';

/** A model that writes. */
export interface Generator {
  /** What computes, e.g. `native (avx512, 2 threads)`. */
  readonly backend: string;
  /** Its arithmetic, e.g. `int8 (auto: int4 weights)`. */
  readonly compute: string;
  /** What it keeps keys and values in. */
  readonly kvDtype: KvDtype;
  complete(request: CompletionRequest): Promise<Completion>;
  close(): void;
}

/** Which model to write with, and how. */
export interface GeneratorOptions extends Omit<OpenModelOptions, 'use'> {
  /** Set where requests ask for log-probabilities: `auto` then computes in float32. */
  readonly logprobs?: boolean;
  /** Left out: `auto`, float32 where all is computed in float32, else bf16. */
  readonly kvDtype?: KvDtypeChoice | undefined;
}

/** Opens a model to write with. */
export async function openGenerator(options: GeneratorOptions): Promise<Generator> {
  const begunMs = performance.now();
  const open = await openModel({ ...options, use: options.logprobs ? 'exact' : 'generate' });
  try {
    const { tokenizer, folder } = open;
    const settings = await readGenerationSettings(folder, tokenizer, options.adapter);
    const loadMs = performance.now() - begunMs;
    const { model, backend } = { model: options.model, backend: open.backend.description };
    const { compute } = open;
    const kvDtype = kvDtypeOf(options.kvDtype ?? 'auto', computesInF32(open.model));
    return {
      backend,
      compute,
      kvDtype,
      close: open.close,
      async complete(request) {
        expectLogprobs(options, request);
        const resolved = resolveRequest(settings, request);
        const { onWarning } = options;
        const asked = { ...resolved, kvDtype, onWarning };
        const generation = await generate(open.model, tokenizer, asked);
        const source = { resolved, tokenizer, model, backend, compute, kvDtype, loadMs };
        return toCompletion(generation, source);
      },
    };
  } catch (error) {
    open.close();
    throw error;
  }
}

/** Under `auto`, probabilities of rounded products would pass as exact ones. */
function expectLogprobs(
  { compute = 'auto', logprobs = false }: GeneratorOptions,
  request: CompletionRequest,
): void {
  if (request.logprobs === undefined || logprobs || compute !== 'auto') return;
  throw new LlmkitError(
    'usage',
    'generate: log-probabilities need a generator opened for them; open it with logprobs: true',
  );
}

/** What a request would do, from headers alone. */
export interface GenerationPlan {
  /** The prompt as the model sees it, special tokens written out. */
  readonly prompt: string;
  readonly prompt_tokens: number;
  /** New tokens at most, cut to the context. */
  readonly max_new_tokens: number;
  readonly context: number;
  readonly sampling: Readonly<Record<string, number>>;
  /** Bytes of the weights as they are stored. */
  readonly weight_bytes: number;
  readonly kv_dtype: KvDtype;
  /** Bytes of the keys and values when all tokens are written. */
  readonly cache_bytes: number;
}

/** Plans a request without loading weights. */
export async function planGeneration(
  options: Pick<GeneratorOptions, 'model' | 'adapter' | 'compute' | 'kvDtype'>,
  request: CompletionRequest,
): Promise<GenerationPlan> {
  const folder = await resolveModel(options.model);
  const checkpoint = await openCheckpoint(folder);
  try {
    const tokenizer = await loadTokenizer(folder);
    const settings = await readGenerationSettings(folder, tokenizer, options.adapter);
    const { promptIds, maxNewTokens, sampling, sequences } = resolveRequest(settings, request);
    const config = decoderConfig(checkpoint.config);
    const newTokens = newTokenLimit(config.maxLength, promptIds.length, maxNewTokens);
    const kvDtype = plannedKvDtype(checkpoint, options, request);
    const tokenBytes = 2 * config.numLayers * config.numKvHeads * kvBytes(kvDtype, config.headSize);
    return {
      prompt: tokenizer.decode(promptIds, { skipSpecialTokens: false }),
      prompt_tokens: promptIds.length,
      max_new_tokens: newTokens,
      context: config.maxLength,
      sampling: {
        temperature: sampling.temperature,
        top_k: sampling.topK,
        top_p: sampling.topP,
        repetition_penalty: sampling.repetitionPenalty,
      },
      weight_bytes: [...checkpoint.tensors.values()].reduce(
        (sum, { sizeBytes }) => sum + sizeBytes,
        0,
      ),
      kv_dtype: kvDtype,
      cache_bytes: tokenBytes * sequences * (promptIds.length + newTokens),
    };
  } finally {
    checkpoint.close();
  }
}

/** What keys and values will be kept in, by the stored dtypes of the weights. */
function plannedKvDtype(
  { tensors, quantized }: Checkpoint,
  { compute = 'auto', kvDtype = 'auto' }: Pick<GeneratorOptions, 'compute' | 'kvDtype'>,
  { logprobs }: CompletionRequest,
): KvDtype {
  const isExact =
    computeOf(compute, logprobs === undefined ? 'generate' : 'exact', 'bf16') === 'f32';
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length === 2);
  const isStoredInF32 = quantized.size === 0 && matrices.every(({ dtype }) => dtype === 'F32');
  return kvDtypeOf(kvDtype, isExact || isStoredInF32);
}
