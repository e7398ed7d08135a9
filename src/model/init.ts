import type { HfConfig } from '../checkpoint/checkpoint.js';
import type { Compute } from '../tensor/compute.js';
import { Decoder } from './decoder.js';
import { decoderConfig } from './families/index.js';
import { specsOf } from './layout.js';
import { toVariable } from './modules.js';

/**
 * A trainable decoder with random weights, as Hugging Face starts them: normal matrices of the
 * config's deviation, zero biases, norms of one. The same seed gives the same weights.
 *
 * @param compute the arithmetic of products with them
 */
export function initModel(config: HfConfig, seed: number, compute: Compute = 'f32'): Decoder {
  const decoder = decoderConfig(config);
  const specs = specsOf(decoder);
  const normal = normalGenerator(seed);
  const values = new Map(
    specs.map((spec) => {
      const deviation = spec.residual ? decoder.residualInitializerRange : decoder.initializerRange;
      const size = spec.shape.reduce((product, length) => product * length, 1);
      const draw = { norm: () => 1, bias: () => 0, linear: normal, embedding: normal }[spec.role];
      const scale = spec.shape.length === 1 ? 1 : deviation;
      const floats = Float32Array.from({ length: size }, () => draw() * scale);
      return [spec.name, toVariable(floats, spec, true)] as const;
    }),
  );
  return new Decoder(decoder, config, values, new Map(specs.map(({ name }) => [name, compute])));
}

/** Standard normal numbers: mulberry32 and Box–Muller. */
function normalGenerator(seed: number): () => number {
  let state = seed | 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
