import { openCheckpoint } from '../../checkpoint/checkpoint.js';
import type { Decoder } from '../../model/decoder.js';
import { HEAD, storedNames } from '../../model/layout.js';
import { loadModel } from '../../model/load.js';
import type { StoredDtype } from '../../quant/schemes/scheme.js';
import { type AdapterFile, loadAdapter } from '../../tune/peft/index.js';
import type { MergeBase } from './bases.js';
import type { MergeJob } from './job.js';
import {
  type Probe,
  probeDivergence,
  probeScores,
  roundingEffect,
  type Verification,
  verifyMerge,
} from './verify.js';

/** What was measured of a merged checkpoint. */
export interface Checked {
  readonly verification: Verification;
  /** With `--onto original`: KL per token from the model that was trained to the merged one. */
  readonly kl_trained_to_merged?: number;
}

/**
 * Loads what was written and compares it with base + adapter.
 *
 * @throws LlmkitError `checkpoint` when they differ
 */
export async function checkMerged(job: MergeJob, target: string, probe: Probe): Promise<Checked> {
  const { model, adapter, bases } = job;
  const expected = await probeScores(model, probe);
  const dtypes = roundedLinears(job);
  const rounding =
    dtypes.size > 0 ? await roundingEffect(model, adapter, { probe, dtypes }) : undefined;
  const checkpoint = await openCheckpoint(target);
  try {
    const merged = await loadModel(checkpoint);
    try {
      const verification = verifyMerge(expected, await probeScores(merged, probe), rounding);
      if (!bases.trained) return { verification };
      const kl = await divergenceFrom(bases.trained, { adapter, merged, probe });
      return { verification, kl_trained_to_merged: kl };
    } finally {
      merged.dispose();
    }
  } finally {
    checkpoint.close();
  }
}

/** Linear layers that are rounded to 16 bits, and were changed or had more. */
function roundedLinears({ tensors, bases, model, adapter }: MergeJob): Map<string, StoredDtype> {
  const { checkpoint } = bases.onto;
  const dtypes = new Map(tensors.map(({ name, dtype }) => [name, dtype]));
  const names = storedNames(checkpoint.config, dtypes);
  const rounded = new Map<string, StoredDtype>();
  for (const module of model.linears.keys()) {
    const own = module === HEAD ? names.get(`${model.config.names.tokens}.weight`) : undefined;
    const stored = names.get(`${module}.weight`) ?? own ?? '';
    const dtype = dtypes.get(stored) as StoredDtype | undefined;
    if (dtype === undefined || dtype === 'F32') continue;
    const isAsBefore =
      !adapter.modules.has(module) && checkpoint.tensors.get(stored)?.dtype === dtype;
    if (!isAsBefore) rounded.set(module, dtype);
  }
  return rounded;
}

async function divergenceFrom(
  trained: MergeBase,
  { adapter, merged, probe }: { adapter: AdapterFile; merged: Decoder; probe: Probe },
): Promise<number> {
  const model = await trained.load();
  const attached = await loadAdapter(model, adapter.folder);
  try {
    return await probeDivergence(model, merged, probe);
  } finally {
    attached.dispose();
    model.dispose();
  }
}
