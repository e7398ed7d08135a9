import { SAMPLE, type SampleRow } from '../../ops/sample.js';
import type { Sampling } from '../../sampling.js';
import type { TensorInfo } from '../../tfjs.js';
import type { KernelTable, NativeKernel } from './kernel.js';

const sample: NativeKernel = ({ inputs, attrs }, native) => {
  const logits = inputs.logits as TensorInfo;
  const { sampling, rows } = attrs as { sampling: Sampling; rows: readonly SampleRow[] };
  const { temperature, topK, topP, repetitionPenalty } = sampling;
  const values = native.floats(logits);
  const vocab = logits.shape[1] as number;
  const ids = Int32Array.from(rows, ({ seen, uniform }, row) => {
    const penalized = repetitionPenalty === 1 ? null : Int32Array.from(seen);
    return native.addon.sample(
      values.subarray(row * vocab, (row + 1) * vocab),
      penalized,
      repetitionPenalty,
      temperature,
      topK,
      topP,
      uniform,
    );
  });
  return native.adopt([rows.length], 'int32', ids);
};

/** The choice of tokens. */
export const sampleKernels: KernelTable = { [SAMPLE]: sample };
