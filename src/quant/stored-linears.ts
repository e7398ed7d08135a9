import type { Dtype, HfConfig } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';
import {
  HEAD,
  moduleOf,
  type ParameterSpec,
  parameterSpecs,
  storedNames,
  tiedTable,
} from '../model/layout.js';
import type { StoredDtype } from './schemes/scheme.js';

/** A stored tensor's header. */
export interface Header {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** A linear layer's matrix, known from headers alone. */
export interface StoredLinear {
  /** Module path by Hugging Face's name. */
  readonly module: string;
  /** Module path as the file names it. */
  readonly stored: string;
  readonly rows: number;
  readonly cols: number;
  readonly dtype: StoredDtype;
  readonly transposedOnDisk: boolean;
}

/** Every linear layer that has a matrix of its own. */
export function storedLinears(
  config: HfConfig,
  tensors: ReadonlyMap<string, Header>,
): StoredLinear[] {
  const names = storedNames(config, tensors);
  return parameterSpecs(config)
    .filter(({ role }) => role === 'linear')
    .map((spec) => storedLinear(spec, names.get(spec.name) ?? spec.name, tensors));
}

/** A head whose matrix is the embedding's. */
export interface TiedHead {
  /** The matrix as one of the head's own. */
  readonly linear: StoredLinear;
  /** The tensor that both share. */
  readonly source: string;
  /** The embedding's name once the head has left it. */
  readonly table: string;
}

/** Undefined where the head has a matrix of its own. */
export function tiedHead(
  config: HfConfig,
  tensors: ReadonlyMap<string, Header>,
): TiedHead | undefined {
  const spec = tiedTable(config);
  if (spec === undefined) return undefined;
  const source = storedNames(config, tensors).get(spec.name) ?? spec.name;
  const linear = { ...storedLinear(spec, source, tensors), module: HEAD, stored: HEAD };
  // Some files keep the shared matrix by the head's name.
  return { linear, source, table: source === `${HEAD}.weight` ? spec.name : source };
}

function storedLinear(
  { name, shape, transposedOnDisk }: ParameterSpec,
  storedName: string,
  tensors: ReadonlyMap<string, Header>,
): StoredLinear {
  const stored = tensors.get(storedName);
  const onDisk = transposedOnDisk ? [...shape].reverse() : shape;
  if (stored?.shape.join() !== onDisk.join()) {
    const got = stored ? `[${stored.shape.join(', ')}]` : 'a checkpoint without it';
    throw new LlmkitError('checkpoint', `${name}: expected [${onDisk.join(', ')}], got ${got}`);
  }
  const [rows = 0, cols = 0] = shape;
  const dtype = storedDtype(name, stored.dtype);
  return {
    module: moduleOf(name),
    stored: moduleOf(storedName),
    rows,
    cols,
    dtype,
    transposedOnDisk,
  };
}

function storedDtype(name: string, dtype: Dtype): StoredDtype {
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return dtype;
  throw new LlmkitError('unsupported', `${name}: expected F32, F16 or BF16 weights, got ${dtype}`);
}
