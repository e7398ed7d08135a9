import { SAMPLE, type SampleRow } from '../../ops/sample.js';
import type { Sampling } from '../../sampling.js';
import type { TensorInfo } from '../../tfjs.js';
import type { Addon } from '../addon.js';
import type { HostKernel, HostKernelTable } from './kernel.js';

/** What `sample` asks of a kernel besides the logits. */
interface SampleAttrs {
  readonly sampling: Sampling;
  readonly rows: readonly SampleRow[];
}

const sample: HostKernel = ({ inputs, attrs }, native) => {
  const logits = inputs.logits as TensorInfo;
  const ids = chosenIds(native.addon, native.floats(logits), attrs as SampleAttrs);
  return native.adopt([ids.length], 'int32', ids);
};

/** The token chosen of each row of logits [B, V]. */
export function chosenIds(
  addon: Pick<Addon, 'sample'>,
  logits: Float32Array,
  { sampling, rows }: SampleAttrs,
): Int32Array {
  const { temperature, topK, topP, repetitionPenalty } = sampling;
  const vocab = logits.length / rows.length;
  return Int32Array.from(rows, ({ seen, uniform }, row) => {
    const penalized = repetitionPenalty === 1 ? null : Int32Array.from(seen);
    return addon.sample(
      logits.subarray(row * vocab, (row + 1) * vocab),
      penalized,
      repetitionPenalty,
      temperature,
      topK,
      topP,
      uniform,
    );
  });
}

/** The choice of tokens. */
export const sampleKernels: HostKernelTable = { [SAMPLE]: sample };
