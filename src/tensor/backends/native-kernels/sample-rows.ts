import { SAMPLE, type SampleRow } from '../../ops/sample.js';
import type { Sampling } from '../../sampling.js';
import type { TensorInfo } from '../../tfjs.js';
import type { DeviceKernel, DeviceKernelTable } from './kernel.js';

/** The tokens of all rows of logits [B, V], chosen where the logits are. */
const sampleRows: DeviceKernel = ({ inputs, attrs }, device) => {
  const { sampling, rows } = attrs as { sampling: Sampling; rows: readonly SampleRow[] };
  const { temperature, topK, topP, repetitionPenalty } = sampling;
  const seen = repetitionPenalty === 1 ? undefined : seenPairs(rows);
  const chosen = device.intOutput([rows.length], rows.length);
  device.addon.sampleRows(
    device.floats(inputs.logits as TensorInfo),
    seen?.rows ?? null,
    seen?.ids ?? null,
    repetitionPenalty,
    temperature,
    topK,
    topP,
    Float64Array.from(rows, ({ uniform }) => uniform),
    chosen.values,
  );
  return chosen.info;
};

/** The ids that rows have seen: a row and an id each. */
function seenPairs(rows: readonly SampleRow[]): { rows: Int32Array; ids: Int32Array } {
  const pairs = rows.flatMap(({ seen }, row) => Array.from(seen, (id) => [row, id] as const));
  return {
    rows: Int32Array.from(pairs, ([row]) => row),
    ids: Int32Array.from(pairs, ([, id]) => id),
  };
}

/** The choice of tokens on a GPU. */
export const sampleRowsKernels: DeviceKernelTable = { [SAMPLE]: sampleRows };
