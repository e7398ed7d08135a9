import { LlmkitError } from '../errors.js';
import type { WeightFormat } from './weight.js';

/**
 * The arithmetic of a product with a frozen weight. f32: exact values, float32. bf16: x and codes
 * rounded to bf16, scales and sums in float32. int8: x rounded to int8 per row and group, sums in
 * int32, scales in float32. bf16-dequantized: x rounded to bf16, the weight code · scale too, as its
 * gradient has it: for training beside quantized weights. bf16-wgmma: the roundings of bf16 in
 * training on GPUs of compute capability 9.0, by instructions that may add up otherwise than those of
 * bf16 there.
 */
export type Compute = 'f32' | 'bf16' | 'int8' | 'bf16-dequantized' | 'bf16-wgmma';

/** What `--compute` may say. */
export const COMPUTE_CHOICES = [
  'auto',
  'f32',
  'bf16',
  'int8',
  'bf16-dequantized',
  'bf16-wgmma',
] as const;
export type ComputeChoice = (typeof COMPUTE_CHOICES)[number];

/** What only `lora-train` computes in. */
export const TRAINING_ONLY: ReadonlySet<ComputeChoice> = new Set([
  'bf16-dequantized',
  'bf16-wgmma',
]);

/** What a model is loaded for: `exact` wherever log-probabilities are asked for. */
export type ComputeUse = 'exact' | 'generate' | 'train';

/** What a model is asked to compute in. */
export interface ComputeRequest {
  readonly choice: ComputeChoice;
  readonly use: ComputeUse;
}

/** Whether products round x as bf16 does. */
export function isBf16(compute: Compute): boolean {
  return compute === 'bf16' || TRAINING_ONLY.has(compute);
}

/**
 * What products of warpgroups (`wgmma`, of compute capability 9.0) are on a GPU: not there, with the
 * bits of the other matrix instructions, with bits of their own, or not known for want of memory. The
 * GPU's addon compares them when it opens the GPU.
 */
export type Warpgroups = 'none' | 'same-bits' | 'other-bits' | 'unknown';

/** Where a model computes. */
export interface ComputeDevice {
  readonly device: string;
  /** Left out: none. */
  readonly warpgroups?: Warpgroups | undefined;
}

const INTEGER: ReadonlySet<WeightFormat> = new Set(['int8', 'int4']);
const QUANTIZED: ReadonlySet<WeightFormat> = new Set([...INTEGER, 'nf4', 'fp4']);

/**
 * The arithmetic of a weight of this format. It follows from the choice, the use and the format
 * alone, never from the machine; see `choiceOn` for the device. float32 weights always compute in float32, and a table of values
 * (nf4, fp4) never in integers.
 */
export function computeOf(choice: ComputeChoice, use: ComputeUse, format: WeightFormat): Compute {
  const wanted = choice === 'auto' ? automatic(use, format) : choice;
  if (wanted === 'f32' || format === 'f32') return 'f32';
  if (wanted === 'int8') return INTEGER.has(format) ? 'int8' : 'bf16';
  if (wanted === 'bf16-dequantized') return QUANTIZED.has(format) ? wanted : 'bf16';
  return wanted;
}

/**
 * The choice on a device: on a GPU, which has no kernels for int8 and bf16-dequantized, `auto` is bf16
 * where the CPU takes those; and training takes bf16-wgmma where warpgroups have bits of their own, so
 * that bf16 cannot have their speed.
 *
 * @throws LlmkitError `usage` when the device has no kernels for what is asked for
 */
export function choiceOn(
  { device, warpgroups = 'none' }: ComputeDevice,
  choice: ComputeChoice,
  use: ComputeUse,
): ComputeChoice {
  if (TRAINING_ONLY.has(choice) && use !== 'train') {
    throw new LlmkitError('usage', `--compute ${choice} is for training; use bf16`);
  }
  if (choice === 'bf16-wgmma') expectWarpgroups(warpgroups);
  if (device !== 'cuda') return choice;
  if (choice === 'int8' || choice === 'bf16-dequantized') {
    throw new LlmkitError('usage', `--compute ${choice} has no CUDA kernels; use bf16`);
  }
  if (choice !== 'auto' || use === 'exact') return choice;
  return use === 'train' && warpgroups === 'other-bits' ? 'bf16-wgmma' : 'bf16';
}

function expectWarpgroups(warpgroups: Warpgroups): void {
  if (warpgroups !== 'none') return;
  const needs = 'needs --device cuda and a GPU of compute capability 9.0';
  throw new LlmkitError('usage', `--compute bf16-wgmma ${needs}; use bf16`);
}

function automatic(use: ComputeUse, format: WeightFormat): Compute {
  if (use === 'exact') return 'f32';
  if (use === 'train') return QUANTIZED.has(format) ? 'bf16-dequantized' : 'bf16';
  return INTEGER.has(format) ? 'int8' : 'bf16';
}
