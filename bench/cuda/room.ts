import { statfsSync } from 'node:fs';
import { freemem } from 'node:os';
import type { BenchContext } from '../context.js';
import type { Weights } from '../models/cache.js';
import { parameterCount, type Shape } from '../models/shape.js';
import { bytesPerToken } from '../works/variants.js';
import type { DeviceReport } from './device.js';

/** Bytes that are free where models are made, read and run. */
export interface Room {
  readonly disk: number;
  readonly memory: number;
  readonly gpu: number;
}

/** What is free now. @param folder of the models */
export function roomFor(folder: string, { free }: Pick<DeviceReport, 'free'>): Room {
  const { bavail, bsize } = statfsSync(folder);
  return { disk: bavail * bsize, memory: freemem(), gpu: 1e9 * free };
}

/**
 * The shape of the run and those of the further ones whose models have room.
 *
 * @param note told which are left out, and why
 */
export function shapesWithRoom(
  context: BenchContext,
  room: Room,
  note: (text: string) => void,
): Shape[] {
  const { shape, furtherShapes } = context.options;
  const fitting = furtherShapes.filter((further) => {
    const need = needOf(context, further);
    const short = (['disk', 'memory', 'gpu'] as const).filter((place) => room[place] < need[place]);
    const places = short.map(
      (place) => `${NAMES[place]} ${figure(need, place)} GB, free ${figure(room, place)}`,
    );
    if (short.length > 0) note(`left out: ${further.name}: ${places.join('; ')}`);
    return short.length === 0;
  });
  return [shape, ...fitting];
}

const NAMES: Readonly<Record<keyof Room, string>> = {
  disk: 'needs on disk',
  memory: 'needs in memory',
  gpu: 'needs on the GPU',
};

function figure(bytes: Room, place: keyof Room): string {
  return (bytes[place] / 1e9).toFixed(1);
}

/** More than the matrices: heads that stay in 16 bits, norms, a tokenizer. */
const DISK_MARGIN = 1.1;
/** What training with checkpointing holds beside the weights, at most half of them. */
const GPU_MARGIN = 1.5;

/** What the works of a shape take. PyTorch reads the bf16 model into memory before it goes to the GPU. */
function needOf({ models, options }: BenchContext, shape: Shape): Room {
  const { groupSize } = options;
  const bf16 = 2 * parameterCount(shape);
  const size = (weights: Weights) =>
    weights === 'bf16'
      ? bf16
      : bytesPerToken(shape, weights, groupSize) +
        (shape.tied ? 0 : 2 * shape.vocab * shape.hidden);
  const missing = (['bf16', 'int4', 'nf4'] as const).filter(
    (weights) => !models.hasCheckpoint(shape, weights, groupSize),
  );
  // Another in nf4 is what quantizing writes.
  const made = missing.reduce((sum, weights) => sum + size(weights), size('nf4'));
  return { disk: DISK_MARGIN * made, memory: bf16, gpu: GPU_MARGIN * bf16 };
}
