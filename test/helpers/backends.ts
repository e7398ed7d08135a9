import { listBackends, useBackend } from '../../src/tensor/backends/index.js';

const backends = await listBackends();

/** The backends a numerical test runs on: those that compute on this machine, or the one LLMKIT_BACKEND names. */
export const testedBackends: readonly string[] = ['native', 'reference'].filter((name) => {
  const wanted = process.env.LLMKIT_BACKEND;
  if (wanted !== undefined && wanted !== '' && wanted !== name) return false;
  const backend = backends.find((entry) => entry.name === name);
  if (backend?.loads) return true;
  process.stderr.write(`skipped: the ${name} backend does not load: ${backend?.detail}\n`);
  return false;
});

/** Switches to a backend. */
export async function useTestBackend(name: string): Promise<void> {
  await useBackend(name);
}
