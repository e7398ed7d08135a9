import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '../tfjs.js';

/** Makes the `reference` backend known to tfjs: its own cpu backend, in plain TypeScript. */
export function registerReference(): void {
  tf.registerBackend('reference', () => new ReferenceBackend());
  tf.copyRegisteredKernels('cpu', 'reference');
  tf.unregisterKernel('UnsortedSegmentSum', 'reference');
  tf.registerKernel({
    kernelName: 'UnsortedSegmentSum',
    backendName: 'reference',
    kernelFunc: segmentSum,
  });
}

class ReferenceBackend extends MathBackendCPU {
  constructor() {
    super();
    // tfjs writes its advertisement with the first tensor.
    Object.assign(this, { firstUse: false });
  }
}

/** The cpu backend compares every segment with every id; the embedding's gradient has thousands. */
const segmentSum: tf.KernelFunc = ({ inputs, attrs, backend }) => {
  const { x, segmentIds } = inputs as { x: tf.TensorInfo; segmentIds: tf.TensorInfo };
  const { numSegments } = attrs as { numSegments: number };
  const cpu = backend as MathBackendCPU;
  const values = cpu.readSync(x.dataId) as Float32Array;
  const ids = cpu.readSync(segmentIds.dataId) as Int32Array;
  const width = values.length / Math.max(ids.length, 1);
  const sums = new Float32Array(numSegments * width);
  ids.forEach((id, row) => {
    if (id < 0 || id >= numSegments) return;
    for (let i = 0; i < width; i++) {
      sums[id * width + i] = (sums[id * width + i] ?? 0) + (values[row * width + i] ?? 0);
    }
  });
  const shape = [numSegments, ...x.shape.slice(segmentIds.shape.length)];
  return cpu.makeTensorInfo(shape, x.dtype, x.dtype === 'int32' ? Int32Array.from(sums) : sums);
};
