import { type BackendName, listBackends } from '../../../src/tensor/backends/index.js';

/** The backends that the tests run on: LLMKIT_BACKEND, else every one that loads. */
export async function testedBackends(): Promise<BackendName[]> {
  const chosen = process.env.LLMKIT_BACKEND;
  const backends = (await listBackends()).filter(({ name }) => !chosen || name === chosen);
  const loading = backends.filter(({ loads }) => loads).map(({ name }) => name);
  if (!loading.includes('native'))
    process.stderr.write('skipped on native: it does not load or is not chosen\n');
  return loading;
}
