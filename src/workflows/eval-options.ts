import type { DownloadProgress } from '../checkpoint/hub.js';
import type { ComputeChoice } from '../tensor/compute.js';
import type { DeviceMapOptions } from './device-map.js';

/** lm-evaluation-harness's seed of few-shot draws. */
export const DEFAULT_FEWSHOT_SEED = 1234;

/** What to evaluate, and how. */
export interface EvalOptions extends DeviceMapOptions {
  /** A folder or a hub id. */
  readonly model: string;
  /** A PEFT folder. */
  readonly adapter?: string | undefined;
  readonly backend?: string | undefined;
  /** Where `native` computes: `cpu`, `cuda` or `auto`. */
  readonly device?: string | undefined;
  readonly threads?: number | undefined;
  /** Left out: `auto`, which is float32. */
  readonly compute?: ComputeChoice | undefined;
  /** Keeps packed weights beside the model. */
  readonly cachePacked?: boolean | undefined;
  readonly tasks: readonly string[];
  /** Files by task name; without one a task's data comes from the hub. */
  readonly data?: Readonly<Record<string, string>> | undefined;
  /** Files few-shot examples are drawn from, by task name. */
  readonly fewshotData?: Readonly<Record<string, string>> | undefined;
  readonly numFewshot?: number | undefined;
  readonly fewshotSeed?: number | undefined;
  /** Documents of each task: a number, or a fraction below 1. */
  readonly limit?: number | undefined;
  readonly batchSize?: number | 'auto' | undefined;
  /** Tokens the model sees at most; by default its own limit. */
  readonly contextLength?: number | undefined;
  readonly stride?: number | undefined;
  readonly labels?: readonly string[] | undefined;
  readonly promptTemplate?: string | undefined;
  readonly applyChatTemplate?: boolean | undefined;
  readonly logSamples?: boolean | undefined;
  /** Results, samples and reports are added below this folder. */
  readonly out?: string | undefined;
  /** The resolved configuration, for the manifest. */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  /** Told of each task's progress in token rows. */
  readonly onProgress?: ((task: string, done: number, total: number) => void) | undefined;
  readonly onDownload?: (progress: DownloadProgress) => void;
  readonly onWarning?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}
