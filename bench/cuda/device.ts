import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runChild } from '../measure/child.js';
import type { Peaks } from '../measure/limits.js';

/** What llmkit_cuda_bench (kernels/cuda/bench) says of a GPU and of the kernels on it. */
export interface DeviceReport {
  readonly device: string;
  /** What wgmma is beside mma.sync: `none`, `same-bits`, `other-bits` (training alone uses it) or `unknown`. */
  readonly warpgroups: string;
  /** Copy on the device, GB/s read and written. */
  readonly copy: number;
  /** Copy from pinned memory of the host, GB/s. */
  readonly upload: number;
  /** The best rate of a product in bf16, TFLOP/s. */
  readonly matrix: number;
  /** Memory of the GPU that was free, GB. */
  readonly free: number;
  readonly rows: readonly KernelRow[];
}

/** A kernel, and what the GPU allows in the same unit. */
export interface KernelRow {
  readonly work: string;
  readonly unit: string;
  readonly value: number;
  readonly limit?: number;
}

/**
 * Builds the program with nvcc and runs it.
 *
 * @param only kernels whose name matches
 * @throws Error when CMake or nvcc is missing, or the GPU fails
 */
export async function measureDevice(root: string, only: string): Promise<DeviceReport> {
  const folder = join(root, 'build', 'cuda-bench');
  const sources = join(root, 'kernels');
  const ready = existsSync(join(root, 'build', 'cmake', 'libkernels.a'));
  const kernels = ready ? join(root, 'build', 'cmake', 'libkernels.a') : '';
  const flags = ['-DCMAKE_BUILD_TYPE=Release', '-DLLMKIT_CUDA=ON', `-DLLMKIT_KERNELS=${kernels}`];
  await runChild('cmake', ['-S', sources, '-B', folder, ...flags]);
  await runChild('cmake', ['--build', folder, '--target', 'llmkit_cuda_bench', '--parallel']);
  const program = join(folder, 'llmkit_cuda_bench');
  const { stdout } = await runChild(program, ['--json', '--only', only]);
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as DeviceReport;
}

/** The limits in the words of the other works: bandwidths, and 1e9 operations per second. */
export function peaksOf({ copy, upload, matrix }: DeviceReport): Peaks {
  return { read: copy, upload, fp32: 0, bf16: 1000 * matrix };
}
