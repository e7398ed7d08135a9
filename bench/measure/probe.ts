import type { Probe } from './interleave.js';
import type { LimitsProgram } from './limits.js';
import type { Work } from './work.js';

/** How fast the files of the work's checkpoint are read. @param program undefined where it could not be built */
export async function fileProbe(
  { threads, reads }: Work,
  program: LimitsProgram | undefined,
): Promise<Probe> {
  if (!program || !reads) return async () => ({});
  const checkpoint = await reads();
  return () => program.files(threads, checkpoint);
}

/** The same, and how fast memory is read. */
export async function hostProbe(work: Work, program: LimitsProgram | undefined): Promise<Probe> {
  const files = await fileProbe(work, program);
  return async () => ({ ...(await program?.read(work.threads)), ...(await files()) });
}
