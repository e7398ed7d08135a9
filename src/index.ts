export { type Checkpoint, openCheckpoint } from './checkpoint/checkpoint.js';
export { type DownloadProgress, resolveModel } from './checkpoint/hub.js';
export { type ErrorCode, LlmkitError } from './errors.js';
export { loadTokenizer, type Tokenizer } from './tokenizer/tokenizer.js';
export { type BackendStatus, describeBackends } from './workflows/backend.js';
export { type EvalOutcome, evaluate } from './workflows/eval.js';
export type { EvalOptions } from './workflows/eval-options.js';
export {
  type Completion,
  type CompletionRequest,
  type GenerationPlan,
  type Generator,
  openGenerator,
  planGeneration,
} from './workflows/generate.js';
export { runTraining, type TrainingOptions, type TrainingResult } from './workflows/lora-train.js';
export { type Manifest, readManifest } from './workflows/manifest.js';
export { type MergeOptions, type MergeResult, mergeAdapter } from './workflows/merge.js';
export { type OpenModel, type OpenModelOptions, openModel } from './workflows/open-model.js';
export {
  type QuantizeOptions,
  type QuantizeResult,
  quantizeModel,
} from './workflows/quantize.js';
export { VERSION } from './workflows/version.js';
