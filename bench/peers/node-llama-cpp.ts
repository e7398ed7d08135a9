import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runChild } from '../measure/child.js';

/** node-llama-cpp with its bundled llama.cpp. */
export interface NodeLlamaCpp {
  time(job: { model: string; threads: number; promptTokens: number; newTokens: number }): Promise<{
    readonly loadSeconds: number;
    readonly prefill: number;
    readonly decode: number;
    readonly peakBytes: number | undefined;
  }>;
}

/**
 * Installs node-llama-cpp into bench/peers when it is not there yet.
 *
 * @throws Error when npm cannot
 */
export async function openNodeLlamaCpp(root: string): Promise<NodeLlamaCpp> {
  const folder = join(root, 'bench', 'peers');
  if (!existsSync(join(folder, 'node_modules', 'node-llama-cpp'))) {
    process.stderr.write('installing node-llama-cpp into bench/peers (once)\n');
    // Its own install script would look for another build: the bundled one is what is measured.
    const args = ['install', '--prefix', folder, '--no-audit', '--no-fund', '--ignore-scripts'];
    await runChild('npm', [...args, '--no-package-lock']);
  }
  const driver = join(folder, 'time-node-llama-cpp.js');
  return {
    async time(job) {
      const { stdout, peakBytes } = await runChild(process.execPath, [driver, JSON.stringify(job)]);
      return { ...JSON.parse(stdout), peakBytes };
    },
  };
}
