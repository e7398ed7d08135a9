import type { BenchContext } from '../context.js';
import type { Work } from '../measure/work.js';
import { batchedWorks } from './batched.js';
import { fileWorks } from './files.js';
import { generationWorks } from './generation.js';
import { scalingWorks } from './scaling.js';
import { scoringWorks } from './scoring.js';
import { startWorks } from './start.js';
import { trainingWorks } from './training.js';

/** All works of the CPU benchmark, in the order they run. */
export function allWorks(context: BenchContext): Work[] {
  return [
    ...generationWorks(context),
    ...batchedWorks(context),
    ...trainingWorks(context),
    ...scoringWorks(context),
    ...fileWorks(context),
    ...startWorks(context),
    ...scalingWorks(context),
  ];
}
