import type { ConfigReader } from './config-reader.js';

/** How a RoPE type turns positions into angles. */
export interface RopeScaling {
  /** [size / 2] radians per position, for a sequence of this many tokens. */
  readonly inverseFrequencies: (lengthTokens: number) => Float32Array;
  /** Longer sequences have frequencies of their own; undefined: all have the same. */
  readonly lengthDependentBeyond?: number;
  /** Factor on cos and sin. */
  readonly attentionFactor: number;
  /** The context limit this scaling gives. */
  readonly maxLength: number;
}

/** What a RoPE type is made from. */
export interface RopeInputs {
  readonly size: number;
  readonly theta: number;
  readonly maxPositions: number;
  readonly originalMaxPositions: number | undefined;
  readonly parameters: ConfigReader;
}

/**
 * The RoPE types by their name in config.json; the only place one is listed.
 *
 * @see transformers/modeling_rope_utils.py
 */
export const ropeTypes: Readonly<Record<string, (inputs: RopeInputs) => RopeScaling>> = {
  default: ({ size, theta, maxPositions }) => fixed(inverse(size, theta), maxPositions),
  linear: linearScaling,
  dynamic: dynamicScaling,
  yarn: yarnScaling,
  llama3: llama3Scaling,
};

function fixed(frequencies: Float32Array, maxLength: number, attentionFactor = 1): RopeScaling {
  return { inverseFrequencies: () => frequencies, attentionFactor, maxLength };
}

/** theta^(-2i / size), rounded to float32 after each step as torch does. */
function inverse(size: number, theta: number): Float32Array {
  return Float32Array.from(
    { length: Math.floor(size / 2) },
    (_, i) => 1 / Math.fround(theta ** Math.fround((2 * i) / size)),
  );
}

/** Positions divided by a factor. */
function linearScaling({ size, theta, maxPositions, parameters }: RopeInputs): RopeScaling {
  const factor = parameters.number('factor', Number.NaN);
  return fixed(
    inverse(size, theta).map((frequency) => frequency / factor),
    Math.floor(maxPositions * factor),
  );
}

/**
 * NTK-aware: beyond the trained length the base grows with the length of the sequence itself.
 * Other sequences of the batch do not count.
 */
function dynamicScaling({ size, theta, maxPositions, parameters }: RopeInputs): RopeScaling {
  const factor = parameters.number('factor', Number.NaN);
  const trained = inverse(size, theta);
  const inverseFrequencies = (length: number) => {
    if (length <= maxPositions) return trained;
    const stretch = (factor * length) / maxPositions - (factor - 1);
    return inverse(size, theta * stretch ** (size / (size - 2)));
  };
  return {
    inverseFrequencies,
    lengthDependentBeyond: maxPositions,
    attentionFactor: 1,
    maxLength: Math.floor(maxPositions * factor),
  };
}

/** YaRN: slow frequencies interpolated, fast ones kept. @see https://arxiv.org/abs/2309.00071 */
function yarnScaling(inputs: RopeInputs): RopeScaling {
  const { size, theta, maxPositions, parameters } = inputs;
  const original = inputs.originalMaxPositions ?? maxPositions;
  const factor = parameters.number('factor', maxPositions / original);
  const dimension = (rotations: number) =>
    (size * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const truncate = parameters.flag('truncate', true);
  const low = dimension(parameters.number('beta_fast', 32));
  const high = dimension(parameters.number('beta_slow', 1));
  const start = Math.max(truncate ? Math.floor(low) : low, 0);
  const end = Math.min(truncate ? Math.ceil(high) : high, size - 1);
  const width = end === start ? 0.001 : end - start;
  const frequencies = inverse(size, theta).map((frequency, i) => {
    const interpolated = Math.min(Math.max((i - start) / width, 0), 1);
    return (frequency / factor) * interpolated + frequency * (1 - interpolated);
  });
  const maxLength = Math.max(maxPositions, Math.floor(original * factor));
  return fixed(frequencies, maxLength, yarnAttentionFactor(parameters, factor));
}

function yarnAttentionFactor(parameters: ConfigReader, factor: number): number {
  const magnitude = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const both = parameters.has('mscale') && parameters.has('mscale_all_dim');
  const inferred = both
    ? magnitude(parameters.number('mscale', 1)) / magnitude(parameters.number('mscale_all_dim', 1))
    : magnitude(1);
  return parameters.number('attention_factor', inferred);
}

/** Llama 3.1: long wavelengths divided by a factor, short ones kept, a ramp between. */
function llama3Scaling(inputs: RopeInputs): RopeScaling {
  const { size, theta, maxPositions, parameters } = inputs;
  const factor = parameters.number('factor', Number.NaN);
  const low = parameters.number('low_freq_factor', Number.NaN);
  const high = parameters.number('high_freq_factor', Number.NaN);
  const original = inputs.originalMaxPositions ?? maxPositions;
  const frequencies = inverse(size, theta).map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < original / high) return frequency;
    if (wavelength > original / low) return frequency / factor;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
  return fixed(frequencies, maxPositions);
}
