import { isBf16 } from '../tensor/compute.js';
import { crossEntropy } from '../tensor/ops/index.js';
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
 * -log softmax(head(hidden))[target] per row. A plain head is fused with the loss, so that its
 * logits are never kept; a wrapped one (an adapter on the head) is not.
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
