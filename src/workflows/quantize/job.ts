import type { Checkpoint } from '../../checkpoint/checkpoint.js';
import { dtypeBits } from '../../checkpoint/dtype.js';
import type { TensorSpec } from '../../checkpoint/writer.js';
import { LlmkitError } from '../../errors.js';
import { HEAD } from '../../model/layout.js';
import { layouts } from '../../quant/layouts.js';
import type { MethodName } from '../../quant/methods/index.js';
import {
  type PlannedTensor,
  type PlanRequest,
  planQuantization,
  type QuantPlan,
} from '../../quant/plan.js';
import { schemes } from '../../quant/schemes/index.js';
import type { QuantScheme } from '../../quant/schemes/scheme.js';

/** One quantized matrix. */
export interface QuantizedTensor {
  readonly name: string;
  readonly scheme: string;
  readonly shape: readonly [rows: number, cols: number];
  readonly group_size: number;
  /** 0 of a head that was tied. */
  readonly bytes_before: number;
  readonly bytes_after: number;
  /** ‖w − ŵ‖ / ‖w‖; absent in a dry run. */
  readonly relative_error?: number;
}

/** Sizes and matrices of a job; the keys are those of `--json`. */
export interface JobSummary {
  readonly scheme: string;
  /** How scales were chosen. */
  readonly method: MethodName;
  readonly bytes_before: number;
  readonly bytes_after: number;
  /** Bits of all stored parts of the quantized matrices, per weight. */
  readonly bits_per_weight: number;
  readonly tensors: readonly QuantizedTensor[];
  /** Linear modules left as they are. */
  readonly skipped: readonly string[];
}

/** Weights that one core rounds, measures and writes in a second: for the estimate of a dry run. */
const WEIGHTS_PER_SECOND = 25e6;
/** Node itself, and the rows that are in float32 at one time. */
const WORKING_BYTES = 200e6;

/** A checkpoint and what becomes of each of its tensors. */
export interface QuantizeJob {
  readonly checkpoint: Checkpoint;
  readonly plan: QuantPlan;
  readonly specs: readonly TensorSpec[];
  /** Stored parts by module path. */
  readonly parts: ReadonlyMap<string, readonly TensorSpec[]>;
  readonly bytesAfter: number;
}

/**
 * Plans a job from config.json and headers alone.
 *
 * @throws LlmkitError `usage` for a model that is already quantized and options that do not fit
 */
export function planJob(
  checkpoint: Checkpoint,
  options: Omit<PlanRequest, 'scheme' | 'head'> & {
    readonly scheme: string;
    readonly head?: string | undefined;
  },
): QuantizeJob {
  if (checkpoint.quantized.size > 0 || checkpoint.config.quantization_config) {
    throw new LlmkitError(
      'usage',
      `${checkpoint.folder}: is already quantized; start from the 16-bit checkpoint`,
    );
  }
  const scheme = schemeNamed('--scheme', options.scheme);
  const head = options.head === undefined ? undefined : schemeNamed('--head', options.head);
  const request = { ...options, scheme, head };
  const plan = planQuantization(checkpoint.config, checkpoint.tensors, request);
  const parts = new Map<string, readonly TensorSpec[]>();
  const specs = [...checkpoint.tensors.values()].flatMap((tensor): readonly TensorSpec[] => {
    const { copy, matrix } = outcomeOf(plan, tensor.name);
    const kept = copy === undefined ? [] : [{ ...tensor, name: copy }];
    if (matrix === undefined) return kept;
    const described = layouts[scheme.layout].describe(matrix, plan.checkpoint);
    parts.set(matrix.module, described);
    return [...kept, ...described];
  });
  return { checkpoint, plan, specs, parts, bytesAfter: sizeOf(specs) };
}

function schemeNamed(flag: string, name: string): QuantScheme {
  const scheme = schemes[name];
  if (scheme !== undefined) return scheme;
  const known = Object.keys(schemes).join(' ');
  throw new LlmkitError('usage', `${flag}: expected one of ${known}, got ${name}`);
}

/** What becomes of a stored tensor. */
export interface Outcome {
  /** The name under which it stays as it is. */
  readonly copy?: string;
  /** The matrix that is made of it. */
  readonly matrix?: PlannedTensor;
}

/** A tensor is copied or quantized; the table of a head that is untied is both, and a copy of it is left out. */
export function outcomeOf({ matrices, untied }: QuantPlan, tensor: string): Outcome {
  const head = `${HEAD}.weight`;
  if (untied && (tensor === untied.source || tensor === head)) {
    const matrix = matrices.get(HEAD);
    return tensor === untied.source && matrix ? { copy: untied.table, matrix } : {};
  }
  const isWeight = tensor.endsWith('.weight');
  const matrix = isWeight ? matrices.get(tensor.slice(0, -'.weight'.length)) : undefined;
  return matrix ? { matrix } : { copy: tensor };
}

function sizeOf(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, { dtype, shape }) => {
    return sum + (dtypeBits(dtype) / 8) * shape.reduce((size, length) => size * length, 1);
  }, 0);
}

/** The job's matrices, and its sizes, as far as headers tell. */
export function describeJob({ checkpoint, plan, parts, bytesAfter }: QuantizeJob): JobSummary {
  const tensors = [...plan.matrices.values()].map(({ module, scheme, rows, cols, groupSize }) => ({
    name: `${module}.weight`,
    scheme: scheme.format,
    shape: [rows, cols] as const,
    group_size: groupSize,
    bytes_before: checkpoint.tensors.get(`${module}.weight`)?.sizeBytes ?? 0,
    bytes_after: sizeOf(parts.get(module) ?? []),
  }));
  return {
    scheme: plan.scheme.format,
    method: plan.method,
    bytes_before: sizeOf([...checkpoint.tensors.values()]),
    bytes_after: bytesAfter,
    bits_per_weight: bitsPerWeight(tensors),
    tensors,
    skipped: plan.checkpoint.skipped,
  };
}

/** Bits of all stored parts per weight. */
export function bitsPerWeight(tensors: readonly QuantizedTensor[]): number {
  const bits = tensors.reduce((sum, { bytes_after }) => sum + 8 * bytes_after, 0);
  return bits / weightsOf(tensors);
}

function weightsOf(tensors: readonly QuantizedTensor[]): number {
  return tensors.reduce((sum, { shape: [rows, cols] }) => sum + rows * cols, 0);
}

/** What a job takes, roughly. */
export function estimateJob(job: QuantizeJob): {
  readonly memory_peak_bytes: number;
  readonly estimated_seconds: number;
} {
  const { checkpoint, plan, parts } = job;
  const sizes = [...checkpoint.tensors.values()].map(({ name, sizeBytes }) => {
    const { matrix } = outcomeOf(plan, name);
    return sizeBytes + sizeOf(matrix ? (parts.get(matrix.module) ?? []) : []);
  });
  return {
    memory_peak_bytes: WORKING_BYTES + Math.max(...sizes),
    estimated_seconds: weightsOf(describeJob(job).tensors) / WEIGHTS_PER_SECOND,
  };
}
