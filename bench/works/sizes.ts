import type { GenerateRun } from '../llmkit/generate.js';

/** How much of a generation is read and written, by how many threads. */
export interface GenerationSizes {
  readonly threads: number;
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** A prompt alone. */
export function promptRun(promptTokens: number): GenerateRun {
  return { promptTokens, newTokens: 0, sequences: 1 };
}

/** Tokens one by one, after a short prompt. */
export function decodeRun(newTokens: number): GenerateRun {
  return { promptTokens: 32, newTokens, sequences: 1 };
}
