import { type EngineName, listBackends, useBackend } from '../../src/tensor/backends/index.js';
import { describeTensorflow } from '../../src/tensor/backends/tensorflow.js';

/** With `tensorflow` and `cuda`, `native` on the CPU is tested too: it is what the results are compared with. */
const WANTED: Readonly<Record<string, readonly EngineName[]>> = {
  '': ['native', 'reference'],
  native: ['native'],
  reference: ['reference'],
  tensorflow: ['tensorflow', 'native'],
};

const wanted = await listBackends(
  process.env.LLMKIT_DEVICE === 'cuda'
    ? ['cuda', 'native']
    : (WANTED[process.env.LLMKIT_BACKEND ?? ''] ?? []),
);

/**
 * The backends a numerical test runs on: those that compute on this machine, or what LLMKIT_BACKEND names;
 * with LLMKIT_DEVICE=cuda `cuda`, which is `native` on a GPU.
 */
export const testedBackends: readonly string[] = wanted
  .filter(({ name, loads, detail }) => {
    if (!loads) process.stderr.write(`skipped: the ${name} backend does not load: ${detail}\n`);
    return loads;
  })
  .map(({ name }) => name);

/** Switches to a backend. */
export async function useTestBackend(name: string): Promise<void> {
  if (name === 'cuda') await useBackend('native', { device: 'cuda' });
  else await useBackend(name, { device: 'cpu' });
}

/** Whether the kernels are those of a GPU, the one that is emulated included. */
export function computesOnGpu(name: string): boolean {
  if (name === 'tensorflow') return describeTensorflow().device === 'gpu';
  return name === 'cuda';
}

/** What a workflow's `backend` says for the first of them: `cuda` is `native`, on the device of LLMKIT_DEVICE. */
export function firstBackendFlag(): string {
  const [name = 'reference'] = testedBackends;
  return name === 'cuda' ? 'native' : name;
}

/** Whether results are the same bits whatever the batch, the padding and the cut of a prompt. */
export function isInvariant(name: string): boolean {
  return name === 'native' || name === 'cuda';
}
