import type { LayerCache } from '../../layer-cache.js';
import { ATTENTION, ATTENTION_GRAD, type AttentionOptions } from '../../ops/attention.js';
import { CACHED_ATTENTION } from '../../ops/cached-attention.js';
import type { TensorInfo } from '../../tfjs.js';
import type { AttentionShape } from '../addon.js';
import type { Floats, Ints } from '../arrays.js';
import type { KernelDevice } from '../kernel-device.js';
import { NativeKvStore } from '../native-kv-store.js';
import { heldOf } from './blocks.js';
import type { KernelParams, KernelTable, NativeKernel } from './kernel.js';

type AttentionInputs = Record<'q' | 'k' | 'v' | 'first' | 'last', TensorInfo>;

const attention: NativeKernel = ({ inputs, attrs }, native) => {
  const { q, k, v, first, last } = inputs as AttentionInputs;
  const { slopes, scale, softcap, shape, rounded, training, warpgroups } = settings(
    inputs,
    attrs,
    native,
  );
  const queries = native.elements(q);
  const y = native.output(q.shape, queries.length, heldOf({ attrs }));
  const logSumExp = native.output(q.shape.slice(0, 3), queries.length / shape[5]);
  native.addon.attention(
    queries,
    native.elements(k),
    native.elements(v),
    native.ints(first),
    native.ints(last),
    slopes,
    y.values,
    logSumExp.values,
    shape,
    scale,
    softcap,
    rounded,
    training,
    warpgroups,
  );
  return [y.info, logSumExp.info];
};

const attentionGrad: NativeKernel = ({ inputs, attrs }, native) => {
  const { q, k, v, first, last, y, logSumExp, dy } = inputs as AttentionInputs &
    Record<'y' | 'logSumExp' | 'dy', TensorInfo>;
  const { slopes, scale, softcap, shape, rounded, training } = settings(inputs, attrs, native);
  const [queries, keys, values] = [native.elements(q), native.elements(k), native.elements(v)];
  const dq = native.output(q.shape, queries.length);
  const dk = native.output(k.shape, keys.length);
  const dv = native.output(v.shape, values.length);
  native.addon.attentionGrad(
    queries,
    keys,
    values,
    native.ints(first),
    native.ints(last),
    slopes,
    native.elements(y),
    native.floats(logSumExp),
    native.floats(dy),
    dq.values,
    dk.values,
    dv.values,
    shape,
    scale,
    softcap,
    rounded,
    training,
  );
  return [dq.info, dk.info, dv.info];
};

function settings<F extends Floats, I extends Ints>(
  inputs: KernelParams['inputs'],
  attrs: object,
  native: KernelDevice<F, I>,
) {
  const { q, k } = inputs as AttentionInputs;
  const [B, T, H, E] = q.shape as [number, number, number, number];
  const [, S, K] = k.shape as [number, number, number, number];
  const shape: AttentionShape = [B, T, S, H, K, E];
  const options = attrs as Omit<AttentionOptions, 'first' | 'last'>;
  const { alibiSlopes, scale, softcap = 0, compute = 'f32', training = false } = options;
  const slopes = alibiSlopes === undefined ? null : native.constant(alibiSlopes);
  const [rounded, warpgroups] = [compute !== 'f32', compute === 'bf16-wgmma'];
  return { slopes, scale, softcap, shape, rounded, training, warpgroups };
}

const cachedAttention: NativeKernel = ({ inputs, attrs }, native) => {
  const { q, k, v, first, last } = inputs as AttentionInputs;
  const {
    cos,
    sin,
    positions: places,
    table,
  } = inputs as Partial<Record<'cos' | 'sin' | 'positions' | 'table', TensorInfo>>;
  const { cache, positions } = attrs as { cache: LayerCache; positions?: Int32Array };
  const { slopes, scale, softcap, shape, rounded } = settings(inputs, attrs, native);
  const store = cache.store((sizes) => new NativeKvStore(native.addon, sizes));
  const queries = native.floats(q);
  const y = native.output(q.shape, queries.length);
  const numBytes = native.addon.cachedAttention(
    queries,
    native.floats(k),
    native.floats(v),
    native.ints(first),
    native.ints(last),
    slopes,
    y.values,
    store.handle,
    places ? native.ints(places) : (positions as Int32Array),
    cos ? native.floats(cos) : null,
    sin ? native.floats(sin) : null,
    shape,
    scale,
    softcap,
    rounded,
    table ? native.ints(table) : null,
  );
  store.count(numBytes);
  return y.info;
};

/** Attention and the cache of its keys and values. */
export const attentionKernels: KernelTable = {
  [ATTENTION]: attention,
  [ATTENTION_GRAD]: attentionGrad,
  [CACHED_ATTENTION]: cachedAttention,
};
