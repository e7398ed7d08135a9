import { attentionKernels } from './attention.js';
import { blockKernels } from './blocks.js';
import { castKernels, deviceCastKernels } from './cast.js';
import { elementwiseKernels } from './elementwise.js';
import { gatherKernels } from './gathers.js';
import type { DeviceKernelTable, HostKernelTable, KernelTable } from './kernel.js';
import { linearKernels } from './linears.js';
import { matmulKernels } from './matmul.js';
import { reductionKernels } from './reductions.js';
import { sampleKernels } from './sample.js';
import { sampleRowsKernels } from './sample-rows.js';
import { sliceKernels } from './slices.js';
import { scoringKernels, trainingKernels } from './training.js';
import { viewKernels } from './views.js';

/** Kernels of tensors in memory of the host or of a GPU. */
export const nativeKernels: KernelTable = {
  ...attentionKernels,
  ...blockKernels,
  ...elementwiseKernels,
  ...gatherKernels,
  ...linearKernels,
  ...matmulKernels,
  ...reductionKernels,
  ...sliceKernels,
  ...trainingKernels,
  ...viewKernels,
};

/** Those of tensors in memory of the host alone. */
export const hostKernels: HostKernelTable = {
  ...castKernels,
  ...sampleKernels,
  ...scoringKernels,
};

/** Those of tensors in memory of a GPU alone. */
export const deviceKernels: DeviceKernelTable = { ...deviceCastKernels, ...sampleRowsKernels };
