import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { managedPaths, TFJS_NODE_PACKAGES, type TfjsNode } from '../managed.js';
import { packageRoot } from '../package-root.js';

/** An installed package of TensorFlow for Node, which may still not load. */
export interface FoundPackage {
  readonly name: TfjsNode;
  readonly folder: string;
  readonly version: string;
}

/**
 * The installed packages, in the order in which they are tried: the one for GPUs before the other,
 * each from the user's project, then beside llmkit, then from what `llmkit backend install` made. Where
 * LLMKIT_TENSORFLOW names a folder, those in it alone.
 */
export function findPackages(): readonly FoundPackage[] {
  const managed = managedPaths().folder;
  const named = Boolean(process.env.LLMKIT_TENSORFLOW);
  const places = named ? [managed] : [process.cwd(), packageRoot(), managed];
  const found = new Map<string, FoundPackage>();
  for (const name of TFJS_NODE_PACKAGES) {
    for (const place of places) {
      const folder = resolvePackage(name, place);
      if (folder !== undefined) found.set(folder, { name, folder, version: versionOf(folder) });
    }
  }
  return [...found.values()];
}

function resolvePackage(name: TfjsNode, place: string): string | undefined {
  try {
    return dirname(createRequire(join(place, 'package.json')).resolve(`${name}/package.json`));
  } catch {
    return undefined;
  }
}

function versionOf(folder: string): string {
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return String(version);
}

/** The addon of a package for this Node; undefined where its install script has not made one. */
export function bindingOf({ folder }: FoundPackage): string | undefined {
  const newest = Number(process.versions.napi);
  const built = namesIn(join(folder, 'lib'))
    .map((name) => Number(/^napi-v(\d+)$/.exec(name)?.[1]))
    .filter((version) => version <= newest)
    .sort((a, b) => b - a)
    .map((version) => join(folder, 'lib', `napi-v${version}`))
    .find((lib) => namesIn(lib).includes('tfjs_binding.node'));
  return built && join(built, 'tfjs_binding.node');
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
