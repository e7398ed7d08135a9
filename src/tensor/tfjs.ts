/**
 * The only import of tfjs-core: the tensor API and the autograd tape, with every gradient registered
 * (importing the package alone registers none in Node).
 */
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';

export * from '@tensorflow/tfjs-core';
export * as kernelNames from '@tensorflow/tfjs-core/dist/kernel_names.js';
