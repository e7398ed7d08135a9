import { LlmkitError } from '../errors.js';
import type { RunRecord } from './checkpointing.js';

/** Keys that do not change what is computed. */
const FREE_KEYS = [
  'output_dir',
  'save_steps',
  'save_total_limit',
  'resume',
  'force',
  'dry_run',
  'threads',
  'cache_packed',
  'gradient_checkpointing',
  'device_map',
  'max_memory',
];

/** What a record says that was made before there was the key. */
const BEFORE: RunRecord = { device: 'cpu', optim: 'adamw' };

/**
 * Refuses to go on with another run than the one that was interrupted.
 *
 * @throws LlmkitError `config` naming each key that differs
 */
export function expectSameRun(saved: RunRecord, current: RunRecord): void {
  const [before, now] = [flatten({ ...BEFORE, ...saved }), flatten({ ...BEFORE, ...current })];
  const isFree = (key: string) =>
    // Records once kept the choice of a device, not what it came to.
    FREE_KEYS.includes(key) || (key === 'device' && before.get(key) === '"auto"');
  const differing = [...new Set([...before.keys(), ...now.keys()])].filter(
    (key) => !isFree(key) && before.get(key) !== now.get(key),
  );
  if (differing.length === 0) return;
  const shown = differing.map(
    (key) => `${key} was ${before.get(key) ?? 'not set'} and is ${now.get(key) ?? 'not set'}`,
  );
  throw new LlmkitError(
    'config',
    `--resume: expected the interrupted run's configuration, but ${shown.join('; ')}. ` +
      'Set it back, or start anew in another output_dir',
  );
}

/** Leaves by their path: `lora.r` → `8`. */
function flatten(value: unknown, path = ''): Map<string, string> {
  if (typeof value !== 'object' || value === null) {
    return new Map(value === undefined ? [] : [[path, JSON.stringify(value)]]);
  }
  const inner = Object.entries(value).map(([key, item]) =>
    flatten(item, path === '' ? key : `${path}.${key}`),
  );
  return new Map(inner.flatMap((leaves) => [...leaves]));
}
