import type { Decoder, ForwardOptions, TokenRow } from '../../src/model/decoder.js';
import { int32 } from '../../src/tensor/ops/index.js';
import { div, reshape, type Scalar, sum, type Tensor2D } from '../../src/tensor/tfjs.js';

/** Sum of the losses of all tokens but the first of each row / their number, rows in one batch. */
export function meanTokenLoss(
  model: Decoder,
  rows: readonly TokenRow[],
  options?: ForwardOptions,
): Scalar {
  const hidden = model.forward(rows, options);
  const [, T, D] = hidden.shape;
  const targets = rows.flatMap(({ ids, segmentLengths = [ids.length] }) => {
    const ends = segmentLengths.map((_, i) =>
      segmentLengths.slice(0, i + 1).reduce((a, b) => a + b),
    );
    return Array.from({ length: T }, (_, t) =>
      t + 1 >= ids.length || ends.includes(t + 1) ? -1 : (ids[t + 1] ?? -1),
    );
  });
  const losses = model.tokenLosses(
    reshape(hidden, [-1, D]) as Tensor2D,
    int32(targets, [targets.length]),
  );
  return div(sum(losses), targets.filter((target) => target >= 0).length);
}
