import { realpath } from 'node:fs/promises';
import { LlmkitError } from '../../errors.js';
import type { BackendCheck } from './check.js';
import { runTool } from './tool.js';

/** An install to try out. */
export interface CheckedInstall {
  readonly folder: string;
  /** The program whose `backend check` is run. */
  readonly program: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs `backend check tensorflow` on an install, in a process of its own: TensorFlow cannot be unloaded, and a
 * library that does not fit may end the process.
 *
 * @throws LlmkitError `unsupported` when it does not compute, or not with its own TensorFlow and llmkit's ops
 */
export async function checkInstalled({
  folder,
  program,
  signal,
}: CheckedInstall): Promise<BackendCheck> {
  const node = { command: process.execPath, args: [program], missing: 'it runs llmkit itself' };
  const printed = await runTool(node, ['backend', 'check', 'tensorflow', '--json'], {
    cwd: folder,
    env: { LLMKIT_TENSORFLOW: folder, LLMKIT_BACKEND: '' },
    signal,
  });
  const check = JSON.parse(printed) as BackendCheck;
  if (!check.folder?.startsWith(await realpath(folder))) {
    throw new LlmkitError('unsupported', `${folder}: ${check.folder} was used in its place`);
  }
  if (check.device?.type === 'cpu' && check.warning !== undefined) {
    throw new LlmkitError('unsupported', check.warning);
  }
  return check;
}
