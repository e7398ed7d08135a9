import { createHash } from 'node:crypto';
import { cpus } from 'node:os';
import { basename, resolve } from 'node:path';
import type { TaskResult, TaskRun } from '../eval/harness.js';
import type { RunInfo } from '../eval/results.js';
import { sampleHashes } from '../eval/sample-row.js';
import { DEFAULT_FEWSHOT_SEED, type EvalOptions } from './eval-options.js';
import type { OpenModel } from './open-model.js';
import { VERSION } from './version.js';

/** When a run began and ended, in milliseconds since 1970. */
export interface RunTimes {
  readonly startMs: number;
  readonly endMs: number;
}

/** Everything of a results document that is not a task's numbers; the keys are lm-evaluation-harness's. */
export function runFacts(
  options: EvalOptions,
  {
    opened,
    results,
    times,
  }: { opened: OpenModel; results: readonly TaskResult[]; times: RunTimes },
): RunInfo {
  const name = options.adapter ?? options.model;
  const chat = options.applyChatTemplate ? opened.tokenizer.chatTemplate : undefined;
  const seconds = (times.endMs - times.startMs) / 1000;
  return {
    config: runConfig(options, opened),
    git_hash: null,
    date: times.startMs / 1000,
    pretty_env_info: `node ${process.version}, ${process.platform} ${process.arch}, ${cpus()[0]?.model ?? 'cpu'}, ${opened.backend.description}`,
    transformers_version: null,
    lm_eval_version: null,
    llmkit_version: VERSION,
    backend: opened.backend.description,
    compute: opened.compute,
    ...tokenizerFacts(opened),
    max_length: options.contextLength ?? opened.model.config.maxLength,
    task_hashes: Object.fromEntries(results.map((result) => [result.name, taskHash(result)])),
    model_source: 'llmkit',
    model_name: name,
    model_name_sanitized: sanitizeModelName(name),
    system_instruction: null,
    system_instruction_sha: null,
    fewshot_as_multiturn: chat !== undefined,
    chat_template: chat?.source ?? null,
    chat_template_sha: chat?.hash ?? null,
    start_time: times.startMs / 1000,
    end_time: times.endMs / 1000,
    total_evaluation_time_seconds: String(seconds),
  };
}

/** `config` of each task: what its numbers depend on. */
export function taskConfigs(
  options: EvalOptions,
  runs: readonly TaskRun[],
  opened: Pick<OpenModel, 'model'>,
): Readonly<Record<string, unknown>> {
  const contextLength = options.contextLength ?? opened.model.config.maxLength;
  return Object.fromEntries(
    runs.map(({ name, task, path, fewShotPath }) => [
      name,
      {
        task: name,
        dataset_path: path,
        fewshot_path: fewShotPath ?? null,
        num_fewshot: options.numFewshot ?? 0,
        context_length: contextLength,
        stride: options.stride ?? contextLength,
        labels: options.labels ?? null,
        prompt_template: options.promptTemplate ?? null,
        metadata: { version: task.version },
      },
    ]),
  );
}

function runConfig(options: EvalOptions, { checkpoint, model, backend }: OpenModel): object {
  return {
    model: 'llmkit',
    model_args: { pretrained: options.model, ...(options.adapter && { peft: options.adapter }) },
    model_num_parameters: model.numParameters,
    model_dtype: checkpoint.config.dtype ?? checkpoint.config.torch_dtype ?? 'float32',
    batch_size: options.batchSize ?? 'auto',
    batch_sizes: [],
    device: backend.device,
    use_cache: null,
    limit: options.limit ?? null,
    bootstrap_iters: 0,
    gen_kwargs: {},
    random_seed: 0,
    numpy_seed: null,
    torch_seed: null,
    fewshot_seed: options.fewshotSeed ?? DEFAULT_FEWSHOT_SEED,
  };
}

/** Special tokens as [text, id]. */
function tokenizerFacts({ tokenizer }: OpenModel): RunInfo {
  const token = (id: number | undefined) =>
    id === undefined
      ? [null, null]
      : [tokenizer.decode([id], { skipSpecialTokens: false }), String(id)];
  return {
    tokenizer_pad_token: token(tokenizer.padId),
    tokenizer_eos_token: token(tokenizer.eosIds[0]),
    tokenizer_bos_token: token(tokenizer.bosId),
    eot_token_id: tokenizer.eosIds[0] ?? null,
  };
}

/** Two runs with equal hashes asked the same documents in the same words. */
function taskHash({ samples }: TaskResult): string {
  const parts = samples.map((sample) => {
    const { doc_hash, prompt_hash, target_hash } = sampleHashes(sample);
    return doc_hash + prompt_hash + target_hash;
  });
  return createHash('sha256').update(parts.join('')).digest('hex');
}

/** A model's name as a folder's: what no file system allows becomes `__`, leading `../` go (they would hide it). */
function sanitizeModelName(name: string): string {
  const given = name.replace(/^(\.{1,2}(\/|$))+/, '') || basename(resolve(name));
  return given.replace(/["<>:/|\\?*[\]]+/g, '__');
}
