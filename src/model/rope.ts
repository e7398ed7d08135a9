import { LlmkitError } from '../errors.js';
import { ConfigReader } from './config-reader.js';
import { type RopeScaling, ropeTypes } from './rope-types.js';

/** Rotary positions of a model. */
export interface RopeConfig extends RopeScaling {
  /** Rotated dimensions of each head; half as many angles. */
  readonly size: number;
}

/**
 * Reads rotary positions from `rope_parameters` (transformers 5) or `rope_scaling` with
 * `rope_theta` beside or inside it.
 *
 * @throws LlmkitError `unsupported` on an unknown type, naming the known ones
 */
export function readRope(hf: ConfigReader, headSize: number): RopeConfig {
  const key = hf.has('rope_scaling') ? 'rope_scaling' : 'rope_parameters';
  const fields = hf.record(key) ?? {};
  const parameters = new ConfigReader(fields, `${key}.`);
  const type = parameters.text('rope_type', parameters.text('type', 'default'));
  const scaling = ropeTypes[type];
  if (!Object.hasOwn(ropeTypes, type) || scaling === undefined) {
    const known = Object.keys(ropeTypes).join(', ');
    throw new LlmkitError(
      'unsupported',
      `config.json: ${key} type '${type}' is not one of ${known}`,
    );
  }
  const nested = Object.keys(fields).find((name) => parameters.isRecord(name));
  if (nested !== undefined) {
    throw new LlmkitError('unsupported', `config.json: ${key} per layer type (${nested})`);
  }
  const rotated = parameters.number('partial_rotary_factor', hf.number('partial_rotary_factor', 1));
  if (rotated !== 1) {
    throw new LlmkitError('unsupported', `config.json: partial_rotary_factor ${rotated} is not 1`);
  }
  if (headSize % 2 !== 0) hf.problem(`head_dim: expected an even number for RoPE, got ${headSize}`);
  const resolved = scaling({
    size: headSize,
    theta: parameters.number('rope_theta', hf.number('rope_theta', 10000)),
    maxPositions: hf.size('max_position_embeddings'),
    originalMaxPositions: hf.optionalSize(
      'original_max_position_embeddings',
      parameters.optionalSize('original_max_position_embeddings'),
    ),
    parameters,
  });
  parameters.finish();
  return { size: headSize, ...resolved };
}

/** Angles of one position after the other, for cos and sin tables. */
export interface RopeTables {
  /** [positions, size / 2] */
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** Where a run of positions of one sequence goes in the tables. */
export interface RopeRun {
  /** First row of the tables. */
  readonly row: number;
  readonly firstPosition: number;
  readonly count: number;
  /** Length of the whole sequence, past tokens included. */
  readonly length: number;
}

/** Writes cos and sin of a run of positions. */
export function fillRope(rope: RopeConfig, tables: RopeTables, run: RopeRun): void {
  const frequencies = rope.inverseFrequencies(run.length);
  const half = rope.size / 2;
  for (let t = 0; t < run.count; t++) {
    const start = (run.row + t) * half;
    for (let i = 0; i < half; i++) {
      // Rounded to float32 like transformers: at long positions the angle's rounding is visible.
      const angle = Math.fround((frequencies[i] ?? 0) * (run.firstPosition + t));
      tables.cos[start + i] = Math.cos(angle) * rope.attentionFactor;
      tables.sin[start + i] = Math.sin(angle) * rope.attentionFactor;
    }
  }
}
