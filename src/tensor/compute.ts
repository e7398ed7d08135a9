import { LlmkitError } from '../errors.js';
import type { WeightFormat } from './weight.js';

/**
 * The arithmetic of a product with a frozen weight. f32: exact values, float32. bf16: x and codes
 * rounded to bf16, scales and sums in float32. int8: x rounded to int8 per row and group, sums in
 * int32, scales in float32.
 */
export type Compute = 'f32' | 'bf16' | 'int8';

/** What `--compute` may say. */
export const COMPUTE_CHOICES = ['auto', 'f32', 'bf16', 'int8'] as const;
export type ComputeChoice = (typeof COMPUTE_CHOICES)[number];

/** What a model is loaded for: `exact` wherever log-probabilities are asked for. */
export type ComputeUse = 'exact' | 'generate' | 'train';

/** What a model is asked to compute in. */
export interface ComputeRequest {
  readonly choice: ComputeChoice;
  readonly use: ComputeUse;
}

const INTEGER: ReadonlySet<WeightFormat> = new Set(['int8', 'int4']);

/**
 * The arithmetic of a weight of this format. It follows from the choice, the use and the format
 * alone, never from the machine; see `choiceOn` for the device. float32 weights always compute in float32, and a table of values
 * (nf4, fp4) never in integers.
 */
export function computeOf(choice: ComputeChoice, use: ComputeUse, format: WeightFormat): Compute {
  const wanted = choice === 'auto' ? automatic(use, format) : choice;
  if (wanted === 'f32' || format === 'f32') return 'f32';
  return wanted === 'int8' && INTEGER.has(format) ? 'int8' : 'bf16';
}

/**
 * The choice on a device: on a GPU, which has no kernels for int8, `auto` is bf16 where the CPU takes int8.
 *
 * @throws LlmkitError `usage` when int8 is asked for there
 */
export function choiceOn(device: string, choice: ComputeChoice, use: ComputeUse): ComputeChoice {
  if (device !== 'cuda') return choice;
  if (choice === 'int8') {
    throw new LlmkitError('usage', '--compute int8 has no CUDA kernels; use bf16');
  }
  return choice === 'auto' && use === 'generate' ? 'bf16' : choice;
}

function automatic(use: ComputeUse, format: WeightFormat): Compute {
  if (use === 'exact') return 'f32';
  return use === 'generate' && INTEGER.has(format) ? 'int8' : 'bf16';
}
