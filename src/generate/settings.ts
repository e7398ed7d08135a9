import * as z from 'zod';
import type { Sampling } from '../tensor/sampling.js';

/** The part of Hugging Face's generation_config.json that chooses tokens; the rest is ignored. */
export const generationConfigSchema = z.object({
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).nullish(),
  top_k: z.number().int().min(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
});

/** See {@link generationConfigSchema}. */
export type GenerationConfig = z.infer<typeof generationConfigSchema>;

/** What the caller asks for; the model's own configuration fills the rest. */
export interface WantedSampling {
  readonly temperature?: number | undefined;
  readonly topK?: number | undefined;
  readonly topP?: number | undefined;
  readonly repetitionPenalty?: number | undefined;
}

/** transformers' default where a generation_config samples and names no top_k. */
const DEFAULT_TOP_K = 50;

/**
 * Greedy unless a temperature, top-k or top-p is asked for or the model's configuration samples.
 * What is not asked for comes from the model's configuration.
 */
export function resolveSampling(wanted: WantedSampling, model: GenerationConfig): Sampling {
  const filters = wanted.topK !== undefined || wanted.topP !== undefined;
  const samples = wanted.temperature !== undefined || filters || model.do_sample === true;
  const topK = model.top_k ?? (model.do_sample === true ? DEFAULT_TOP_K : 0);
  return {
    temperature: samples ? (wanted.temperature ?? model.temperature ?? 1) : 0,
    topK: wanted.topK ?? topK,
    topP: wanted.topP ?? model.top_p ?? 1,
    repetitionPenalty: wanted.repetitionPenalty ?? model.repetition_penalty ?? 1,
  };
}
