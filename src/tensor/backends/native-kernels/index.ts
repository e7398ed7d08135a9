import { attentionKernels } from './attention.js';
import { blockKernels } from './blocks.js';
import { elementwiseKernels } from './elementwise.js';
import type { KernelTable } from './kernel.js';
import { matmulKernels } from './matmul.js';
import { reductionKernels } from './reductions.js';
import { shapeKernels } from './shapes.js';
import { trainingKernels } from './training.js';

/** Every kernel that `native` has of its own. */
export const nativeKernels: KernelTable = {
  ...attentionKernels,
  ...blockKernels,
  ...elementwiseKernels,
  ...matmulKernels,
  ...reductionKernels,
  ...shapeKernels,
  ...trainingKernels,
};
