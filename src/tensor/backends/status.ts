import { LlmkitError } from '../../errors.js';
import * as tf from '../tfjs.js';
import type { DeviceInfo } from './addon-device.js';
import { cudaAddonPath, cudaIsBuilt, loadCuda } from './cuda.js';
import { everTested, testedAt } from './cuda-record.js';
import { BACKEND_NAMES, BACKENDS, type BackendFacts, type EngineName } from './entries.js';
import { hostKernels, nativeKernels } from './native-kernels/index.js';
import { nvidiaDriver } from './nvidia-driver.js';

/** A backend on this machine: what it is where it loads, else why it does not. */
export interface BackendStatus extends Partial<BackendFacts> {
  readonly name: EngineName;
  readonly loads: boolean;
  /** What it computes with, or why it does not load and what mends that. */
  readonly detail: string;
  /** What one that loads lacks, and what mends that. */
  readonly warning?: string;
  /** `native`: what it says of a GPU. */
  readonly cuda?: CudaStatus;
  /** llmkit's own ops that it has kernels for. */
  readonly kernels?: readonly string[];
  /** Those that it composes of tfjs's ops. */
  readonly composed?: readonly string[];
}

/** The GPU that `native` can compute on, or why it cannot. */
export interface CudaStatus {
  readonly loads: boolean;
  /** Why not, and what mends that. */
  readonly detail?: string;
  readonly gpu?: DeviceInfo;
  /** '580.65.06'; left out where the system does not say. */
  readonly driver?: string;
  /** ISO 8601; left out where this build has never run its tests on a GPU like this. */
  readonly tested_at?: string;
  /** Whether the addon is built and has never passed its tests, on this GPU or, without one, on any. */
  readonly never_run: boolean;
}

/** Whether each backend loads on this machine or why it does not; every one unless named. */
export async function listBackends(
  names: readonly EngineName[] = BACKEND_NAMES,
): Promise<readonly BackendStatus[]> {
  return names.map((name) => {
    const { describe, facts, warning } = BACKENDS[name];
    try {
      const detail = describe();
      const lacks = warning?.();
      const lacking = lacks === undefined ? {} : { warning: lacks };
      const cuda = name === 'native' ? { cuda: cudaStatus() } : {};
      return { name, loads: true, detail, ...lacking, ...facts(), ...cuda, ...opsOf(name) };
    } catch (error) {
      if (error instanceof LlmkitError && error.code === 'usage') throw error;
      return { name, loads: false, detail: error instanceof Error ? error.message : String(error) };
    }
  });
}

function cudaStatus(): CudaStatus {
  try {
    const cuda = loadCuda();
    const tested = testedAt(cuda);
    const never_run = tested === undefined;
    const driver = cuda.device.emulated ? undefined : nvidiaDriver();
    return {
      loads: true,
      gpu: cuda.device,
      ...(driver !== undefined && { driver }),
      never_run,
      ...(!never_run && { tested_at: tested }),
    };
  } catch (error) {
    if (!(error instanceof LlmkitError)) throw error;
    const never_run = cudaIsBuilt() && !everTested(cudaAddonPath());
    return { loads: false, detail: error.message, never_run };
  }
}

/** llmkit's own ops, by whether a backend has a kernel: `native` has one for every op. */
function opsOf(name: EngineName): Pick<BackendStatus, 'kernels' | 'composed'> {
  if (tf.findBackendFactory(name) == null) BACKENDS[name].register();
  const ops = Object.keys({ ...nativeKernels, ...hostKernels }).filter((op) =>
    op.startsWith('Llmkit'),
  );
  const hasKernel = (op: string) => tf.getKernel(op, name) !== undefined;
  return { kernels: ops.filter(hasKernel), composed: ops.filter((op) => !hasKernel(op)) };
}
