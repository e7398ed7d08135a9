import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runTool, type Tool } from './tool.js';

/** npm: the one that runs us, else the one that is found. */
export function npm(env: NodeJS.ProcessEnv = process.env): Tool {
  const missing = 'npm comes with Node: install it, or add its folder to PATH';
  const running = env.npm_execpath;
  if (running !== undefined && basename(running) === 'npm-cli.js') {
    return { command: process.execPath, args: [running], missing };
  }
  return { command: 'npm', args: [], missing };
}

const FLAGS = ['--ignore-scripts', '--no-save', '--no-package-lock', '--no-audit', '--no-fund'];

/**
 * Puts a package and what it depends on into a folder's node_modules, without running any script of theirs.
 *
 * @throws LlmkitError `unsupported` where npm is missing or fails
 */
export async function installPackage(
  name: string,
  folder: string,
  signal?: AbortSignal,
): Promise<void> {
  // Without one, npm installs into the nearest folder above that has one.
  await writeFile(join(folder, 'package.json'), '{ "private": true }\n');
  const args = ['install', ...FLAGS, '--loglevel=error', '--prefix', folder, name];
  await runTool(npm(), args, { cwd: folder, signal });
}
