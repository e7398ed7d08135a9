import { LlmkitError } from '../../errors.js';
import type { LoraConfig } from './lora-config.js';

/** The head's module path: `all-linear` leaves it out. */
const HEAD = 'lm_head';

/**
 * The modules that a LoRA adapts, in the order of `modules`.
 *
 * @param modules paths of all linear layers
 * @throws LlmkitError `config` naming the candidates when a pattern matches nothing
 */
export function targetModules(config: LoraConfig, modules: readonly string[]): string[] {
  const { targetModules: targets, excludeModules } = config;
  const isTarget = matcher(targets);
  checkEachMatches(targets, modules);
  const isExcluded = excludeModules === undefined ? () => false : matcher(excludeModules);
  const chosen = modules.filter(
    (module) => isTarget(module) && !isExcluded(module) && isInChosenLayer(config, module),
  );
  if (chosen.length === 0) {
    throw new LlmkitError(
      'config',
      `lora.target_modules: nothing is left after exclude_modules and layers_to_transform`,
    );
  }
  return chosen;
}

/** Target modules as PEFT understands them: endings where they name the same set, else whole paths. */
export function peftTargets(
  chosen: readonly string[],
  modules: readonly string[],
): readonly string[] {
  const leaves = [...new Set(chosen.map(leafOf))].sort();
  const byLeaf = modules.filter((module) => leaves.includes(leafOf(module)));
  return byLeaf.length === chosen.length ? leaves : [...chosen].sort();
}

function matcher(targets: readonly string[] | string): (module: string) => boolean {
  if (targets === 'all-linear') return (module) => module !== HEAD;
  if (typeof targets === 'string') {
    const pattern = regularExpression(targets, `^(?:${targets})$`);
    return (module) => pattern.test(module);
  }
  const each = targets.map(matcherOfEntry);
  return (module) => each.some((matches) => matches(module));
}

function matcherOfEntry(entry: string): (module: string) => boolean {
  if (entry === 'all-linear') return matcher(entry);
  if (!/[*?]/.test(entry)) return (module) => module === entry || module.endsWith(`.${entry}`);
  const glob = entry
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  const pattern = new RegExp(`^(?:.*\\.)?${glob}$`);
  return (module) => pattern.test(module);
}

function checkEachMatches(targets: readonly string[] | string, modules: readonly string[]): void {
  const entries = typeof targets === 'string' ? [targets] : targets;
  const unmatched = entries.filter((entry) => {
    const matches = typeof targets === 'string' ? matcher(targets) : matcherOfEntry(entry);
    return !modules.some(matches);
  });
  if (unmatched.length === 0 && entries.length > 0) return;
  const whole = typeof targets === 'string' ? ' as a regular expression of the whole path' : '';
  const candidates = [...new Set(modules.map(leafOf))].sort().join(', ');
  throw new LlmkitError(
    'config',
    `lora.target_modules: ${unmatched.map((entry) => JSON.stringify(entry)).join(', ') || 'the empty list'} ` +
      `matches no linear layer${whole}; the model has ${candidates} (or use all-linear${whole && '; names go into a list'})`,
  );
}

function isInChosenLayer(config: LoraConfig, module: string): boolean {
  const { layersToTransform, layersPattern = [] } = config;
  if (layersToTransform === undefined) return true;
  const patterns = layersPattern.length > 0 ? layersPattern : ['[^.]*'];
  for (const pattern of patterns) {
    const index = regularExpression(pattern, `^.*\\.${pattern}\\.(\\d+)\\.`).exec(module)?.[1];
    if (index !== undefined) return layersToTransform.includes(Number(index));
  }
  return false;
}

function regularExpression(text: string, source: string): RegExp {
  try {
    return new RegExp(source);
  } catch {
    throw new LlmkitError(
      'config',
      `lora: ${JSON.stringify(text)} is not a regular expression; names and globs go into a list`,
    );
  }
}

function leafOf(module: string): string {
  return module.slice(module.lastIndexOf('.') + 1);
}
