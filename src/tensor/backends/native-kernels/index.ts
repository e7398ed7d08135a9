import { attentionKernels } from './attention.js';
import { blockKernels } from './blocks.js';
import { elementwiseKernels } from './elementwise.js';
import { gatherKernels } from './gathers.js';
import type { KernelTable } from './kernel.js';
import { linearKernels } from './linears.js';
import { matmulKernels } from './matmul.js';
import { reductionKernels } from './reductions.js';
import { sampleKernels } from './sample.js';
import { sliceKernels } from './slices.js';
import { trainingKernels } from './training.js';
import { viewKernels } from './views.js';

/** Every kernel that `native` has of its own. */
export const nativeKernels: KernelTable = {
  ...attentionKernels,
  ...blockKernels,
  ...elementwiseKernels,
  ...gatherKernels,
  ...linearKernels,
  ...matmulKernels,
  ...reductionKernels,
  ...sampleKernels,
  ...sliceKernels,
  ...trainingKernels,
  ...viewKernels,
};
