import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { LlmkitError } from '../../errors.js';
import type { Addon } from './addon.js';
import { checkEnvironment } from './environment.js';
import { packageRoot } from './package-root.js';

/**
 * Loads the compiled addon, build/llmkit.node of the package.
 *
 * @throws LlmkitError `unsupported` when it is not built or does not load here, saying how to mend it;
 *   `usage` when a variable of the environment that it reads is wrong
 */
export function loadAddon(): Addon {
  checkEnvironment();
  const path = join(packageRoot(), 'build', 'llmkit.node');
  if (!existsSync(path)) {
    throw new LlmkitError(
      'unsupported',
      `native backend: ${path} is not built; build it with \`node scripts/build-addon.js\` (needs CMake and a C++17 compiler)`,
    );
  }
  const addon = requireAddon(path);
  const missing = Object.keys(ADDON_FUNCTIONS).filter((name) => !(name in addon));
  if (missing.length > 0) throw doesNotLoad(path, `it is of another version, without ${missing}`);
  return addon;
}

function requireAddon(path: string): Addon {
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    throw doesNotLoad(path, String(cause), cause);
  }
}

function doesNotLoad(path: string, why: string, cause?: unknown): LlmkitError {
  const mend = 'build it anew with `node scripts/build-addon.js`';
  return new LlmkitError('unsupported', `native backend: ${path} does not load: ${why}; ${mend}`, {
    cause,
  });
}

/** What an addon built from this version has; complete by its type. */
const ADDON_FUNCTIONS: Readonly<Record<keyof Addon, true>> = {
  activatedLinear: true,
  activation: true,
  activationGrad: true,
  adamw: true,
  adamw8bit: true,
  alignedBuffer: true,
  argmax: true,
  attention: true,
  attentionGrad: true,
  beginRecording: true,
  binary: true,
  cachedAttention: true,
  computeIsas: true,
  createKvCache: true,
  createWeight: true,
  crossEntropy: true,
  crossEntropyGrad: true,
  crossEntropyKept: true,
  dequantizeRows: true,
  disposeKvCache: true,
  disposeWeight: true,
  dropout: true,
  gather: true,
  endRecording: true,
  gatedLinear: true,
  gatedMlp: true,
  gatedMlpGrad: true,
  hashRanges: true,
  convert: true,
  hasRows: true,
  isa: true,
  layerNorm: true,
  layerNormGrad: true,
  linear: true,
  linearGradInput: true,
  loraLinear: true,
  loraLinearGrad: true,
  mapFile: true,
  matmul: true,
  mergedLinear: true,
  packedLayout: true,
  packWeight: true,
  packedParts: true,
  quantizationError: true,
  quantize: true,
  reduce: true,
  releasePages: true,
  replay: true,
  rmsNorm: true,
  rmsNormGrad: true,
  rope: true,
  roundedLinear: true,
  roundedLinearGradInput: true,
  roundedLinearGradWeight: true,
  sample: true,
  scatterAdd: true,
  selectKvRows: true,
  setThreads: true,
  softmax: true,
  stridedCopy: true,
  threads: true,
  tokenScores: true,
  transpose: true,
  unary: true,
  usePacked: true,
  writeDirect: true,
};
