import { type BackendName, listBackends, useBackend } from '../../src/tensor/backends/index.js';

/** With `tensorflow`, `native` is tested too: it is what that backend's results are compared with. */
const WANTED: Readonly<Record<string, readonly BackendName[]>> = {
  '': ['native', 'reference'],
  native: ['native'],
  reference: ['reference'],
  tensorflow: ['tensorflow', 'native'],
};

const wanted = await listBackends(WANTED[process.env.LLMKIT_BACKEND ?? ''] ?? []);

/** The backends a numerical test runs on: those that compute on this machine, or what LLMKIT_BACKEND names. */
export const testedBackends: readonly string[] = wanted
  .filter(({ name, loads, detail }) => {
    if (!loads) process.stderr.write(`skipped: the ${name} backend does not load: ${detail}\n`);
    return loads;
  })
  .map(({ name }) => name);

/** Switches to a backend. */
export async function useTestBackend(name: string): Promise<void> {
  await useBackend(name);
}
