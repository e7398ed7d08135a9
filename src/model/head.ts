import { isBf16 } from '../tensor/compute.js';
import {
  crossEntropy,
  hasTokenScores,
  scoresOfLogits,
  type TokenScores,
  tokenScores,
} from '../tensor/ops/index.js';
import {
  logSumExp,
  mul,
  notEqual,
  oneHot,
  sub,
  sum,
  type Tensor1D,
  type Tensor2D,
  tidy,
} from '../tensor/tfjs.js';
import { DenseLinear, type Linear } from './linear.js';

/**
 * -log softmax(head(hidden))[target] per row. A plain head is fused with the loss, which
 * keeps its logits only where they are small (`crossEntropy`); a wrapped one (an adapter on the head) is not.
 *
 * @param hidden [M, D]
 * @param targets int32 [M]; -1 gives 0 and no gradient
 */
export function headLosses(head: Linear, hidden: Tensor2D, targets: Tensor1D): Tensor1D {
  if (head instanceof DenseLinear) {
    const { weight, bias, compute } = head;
    return crossEntropy(hidden, weight, targets, bias, isBf16(compute));
  }
  return tidy(() => {
    const logits = head.forward(hidden, {}) as Tensor2D;
    const chosen = sum(mul(logits, oneHot(targets, head.outFeatures)), 1);
    return mul(sub(logSumExp(logits, 1), chosen), notEqual(targets, -1)) as Tensor1D;
  });
}

/** Logits that exist at one time where scores are made of them: 16 MiB. */
const MAX_LOGITS = 2 ** 22;
/** Positions that are scored at once, of logits and without them. */
const [MAX_POSITIONS, MAX_FUSED_POSITIONS] = [256, 512];

/** Positions whose `headScores` are made at once: what they take in memory and time is bounded. */
export function scoredAtOnce(head: Linear): number {
  if (isFused(head)) return MAX_FUSED_POSITIONS;
  const fitting = Math.floor(MAX_LOGITS / head.outFeatures);
  return Math.min(MAX_POSITIONS, Math.max(1, fitting));
}

/**
 * How probable the targets are by the softmax of head(hidden), without a gradient.
 *
 * @param hidden [M, D]
 * @param targets int32 [M]
 */
export function headScores(head: Linear, hidden: Tensor2D, targets: Tensor1D): TokenScores {
  if (!isFused(head)) {
    return tidy(() => scoresOfLogits(head.forward(hidden, {}) as Tensor2D, targets));
  }
  const { weight, bias, compute } = head;
  return tokenScores({ h: hidden, weight, bias, targets, rounded: isBf16(compute) });
}

function isFused(head: Linear): head is DenseLinear {
  return head instanceof DenseLinear && hasTokenScores();
}
