import { totalmem } from 'node:os';
import { checkFreeDisk } from '../../checkpoint/output.js';
import type { Base } from './base.js';
import type { TrainingConfig } from './config.js';
import type { TrainingData } from './data.js';
import { memoryPeak } from './memory.js';
import { diskBytes, sizesOf } from './sizes.js';

/**
 * Looks for free disk and memory before the work starts.
 *
 * @returns a warning where the memory will hardly do
 * @throws LlmkitError `usage` when the disk has no room for the checkpoints
 */
export async function checkResources(
  config: TrainingConfig,
  base: Base,
  data: TrainingData,
): Promise<string | undefined> {
  const sizes = sizesOf(config, base);
  await checkFreeDisk(config.output_dir, diskBytes(config, data, sizes));
  const needed = memoryPeak(config, { base, data, sizes });
  const there = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  if (needed <= there) return undefined;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  return (
    `this run needs about ${gigabytes(needed)} of memory and the machine has ${gigabytes(there)}; ` +
    'a smaller batch_size or max_length, gradient_checkpointing or load_in_4bit need less'
  );
}
