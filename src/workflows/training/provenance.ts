import { describeCompute } from '../../model/describe-compute.js';
import type { RunRecord } from '../../tune/checkpointing.js';
import { type BaseModel, sha256OfFile } from '../manifest.js';
import type { Backend } from '../open-model.js';
import { type Base, baseModelOf } from './base.js';
import type { TrainingConfig } from './config.js';
import { dataFiles } from './data.js';
import type { Trainee } from './trainee.js';

/** What a run was made from. */
export interface Provenance {
  readonly inputs: Readonly<Record<string, string>>;
  readonly baseModel: BaseModel | undefined;
  /** What a resumed run must have in common. */
  readonly record: RunRecord;
}

/** Hashes what a run reads. */
export async function provenanceOf(
  config: TrainingConfig,
  { base, backend, trainee }: { base: Base; backend: Backend; trainee: Trainee },
): Promise<Provenance> {
  const inputs: Record<string, string> = {};
  for (const path of dataFiles(config)) inputs[path] = await sha256OfFile(path);
  const baseModel = await baseModelOf(base, config.model ?? '', trainee.quantization);
  const contents = (sources: TrainingConfig['data'] | undefined) =>
    sources?.map(({ path, ...rest }) => ({ ...rest, sha256: inputs[path] }));
  const record = {
    ...config,
    model: baseModel?.quantized?.identity ?? baseModel?.identity,
    tokenizer: base.tokenizer.hash,
    data: contents(config.data),
    eval_data: contents(config.eval_data),
    backend: backend.name,
    device: backend.device,
    // What the choice came to: `auto` and its name are the same run.
    compute: describeCompute(trainee.model),
  };
  return { inputs, baseModel, record };
}
