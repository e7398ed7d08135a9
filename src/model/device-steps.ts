import type { AngleTables, DecodeSteps, DecodeStepsShape } from '../tensor/decode-steps.js';
import type { PassTokens, Visibility } from './batch.js';
import type { DecoderConfig } from './config.js';
import { fillRope, type RopeConfig } from './rope.js';

/** What a model's steps of decoding are, by what does not depend on the model. */
export function stepsShape(
  { windows, learnedPositions, rope, vocabSize, numLayers }: DecoderConfig,
  batch: Pick<DecodeStepsShape, 'rows' | 'capacity' | 'sampling'>,
): DecodeStepsShape {
  return {
    ...batch,
    vocabSize,
    numLayers,
    windows: [...new Set(windows)].filter((window) => window !== undefined),
    tableOffset: learnedPositions?.offset,
    angles: rope && angleTables(rope, batch.capacity),
  };
}

/** Positions whose angles are the same in every text: beyond, a model's angles change with the length. */
export function fixedPositions({ maxLength, rope }: DecoderConfig): number {
  return Math.min(maxLength, rope?.lengthDependentBeyond ?? maxLength);
}

/** The tokens of a step, for a pass of the model. */
export function stepTokens(steps: DecodeSteps): PassTokens {
  const { ids, positions, firsts, angles, tableRows, tables } = steps;
  const visible = { last: positions, firsts, positions, tables };
  const visibility: Visibility = { ...visible, ...(angles && { angles }) };
  return {
    idTensor: () => ids,
    positionRows: () => tableRows ?? positions,
    visibility: () => visibility,
  };
}

function angleTables(rope: RopeConfig, capacity: number): AngleTables {
  const half = rope.size / 2;
  const [cos, sin] = [new Float32Array(capacity * half), new Float32Array(capacity * half)];
  fillRope(rope, { cos, sin }, { row: 0, firstPosition: 0, count: capacity, length: capacity });
  return { half, cos, sin };
}
