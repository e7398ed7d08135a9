import { LlmkitError } from '../../errors.js';
import type { ConfigReader } from '../config-reader.js';

const MAX_LAYERS = 10_000;

/** The number of layers, small enough to make a list of. */
export function readNumLayers(hf: ConfigReader, key: string): number {
  const count = hf.size(key);
  if (count <= MAX_LAYERS) return count;
  hf.problem(`${key}: expected at most ${MAX_LAYERS}, got ${count}`);
  return 1;
}

/** Hidden size / heads, which must divide. */
export function readHeadSize(
  hf: ConfigReader,
  sizes: { readonly hiddenSize: number; readonly numHeads: number; readonly key: string },
): number {
  const { hiddenSize, numHeads, key } = sizes;
  if (hiddenSize % numHeads === 0) return hiddenSize / numHeads;
  hf.problem(`${key}: expected a multiple of ${numHeads} heads, got ${hiddenSize}`);
  return 2;
}

/** The same value for every layer. */
export function forEachLayer<T>(numLayers: number, value: T): readonly T[] {
  return Array.from({ length: numLayers }, () => value);
}

/**
 * Attention windows of the Qwen families: `layer_types` where given, else the layers from
 * `max_window_layers` on; none without `use_sliding_window`.
 */
export function readLayerWindows(
  hf: ConfigReader,
  numLayers: number,
): readonly (number | undefined)[] {
  const window = hf.flag('use_sliding_window', false)
    ? hf.optionalSize('sliding_window', 4096)
    : undefined;
  const types = hf.texts('layer_types');
  if (types === undefined) {
    const first = hf.count('max_window_layers', 28);
    return Array.from({ length: numLayers }, (_, i) => (i >= first ? window : undefined));
  }
  if (types.length !== numLayers) {
    hf.problem(`layer_types: expected ${numLayers} entries, got ${types.length}`);
  }
  return types.map((type) => {
    if (type === 'full_attention') return undefined;
    if (type === 'sliding_attention') return window ?? missingWindow(hf);
    throw new LlmkitError(
      'unsupported',
      `config.json: layer_types '${type}' is not one of full_attention, sliding_attention`,
    );
  });
}

function missingWindow(hf: ConfigReader): undefined {
  hf.problem('layer_types: sliding_attention needs use_sliding_window and sliding_window');
  return undefined;
}
