import { LlmkitError } from '../../errors.js';

const MAX_THREADS = 1024;
const INSTRUCTION_SETS = ['scalar', 'avx2', 'avx512', 'amx', 'neon'];

/**
 * Checks the variables that the addon reads: it can only end the process over a wrong one.
 *
 * @throws LlmkitError `usage`
 */
export function checkEnvironment(env: NodeJS.ProcessEnv = process.env): void {
  const { LLMKIT_THREADS: threads, LLMKIT_ISA: isa } = env;
  if (threads && !(/^\d+$/.test(threads) && Number(threads) >= 1 && Number(threads) <= MAX_THREADS))
    throw wrong('LLMKIT_THREADS', `a whole number from 1 to ${MAX_THREADS}`, threads);
  if (isa && !INSTRUCTION_SETS.includes(isa)) {
    throw wrong('LLMKIT_ISA', `one of ${INSTRUCTION_SETS.join(', ')}`, isa);
  }
}

function wrong(name: string, expected: string, got: string): LlmkitError {
  return new LlmkitError(
    'usage',
    `${name}: expected ${expected}, got '${got}'; correct or unset it`,
  );
}
