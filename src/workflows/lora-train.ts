import { join, resolve } from 'node:path';
import type { DownloadProgress } from '../checkpoint/hub.js';
import { LlmkitError } from '../errors.js';
import { describeCompute } from '../model/describe-compute.js';
import { deviceMemory } from '../tensor/backends/device-memory.js';
import {
  checkpointFolder,
  pruneCheckpoints,
  readCheckpointState,
  restoreCheckpoint,
  saveCheckpoint,
  type TrainingState,
} from '../tune/checkpointing.js';
import {
  type EvaluationReport,
  type LoopHooks,
  type LoopResult,
  runLoop,
  type StepReport,
} from '../tune/loop.js';
import { expectSameRun } from '../tune/resume.js';
import { schedule } from '../tune/schedule.js';
import type { Trainer } from '../tune/trainer.js';
import { deviceMapOf, placementOf } from './device-map.js';
import { writeManifest } from './manifest.js';
import { type Backend, openBackend } from './open-model.js';
import { type Base, openBase } from './training/base.js';
import type { TrainingConfig } from './training/config.js';
import { dataNotes, loadTrainingData, type TrainingData } from './training/data.js';
import { trainingBytes } from './training/memory.js';
import { newTrainer } from './training/new-trainer.js';
import {
  lastLoss,
  prepareOutput,
  publishResult,
  RunLog,
  startingStep,
  writeRunReport,
} from './training/output.js';
import { parametersLine } from './training/parameters-line.js';
import { type Provenance, provenanceOf } from './training/provenance.js';
import { checkResources } from './training/resources.js';
import { sizesOf } from './training/sizes.js';
import { openTrainee, type Trainee } from './training/trainee.js';

/** How a run talks while it works. */
export interface TrainingEvents {
  /** A line for people. */
  note(text: string): void;
  warn(text: string): void;
  download(progress: DownloadProgress): void;
  /** Training begins at `done` of `total` steps. */
  start(done: number, total: number): void;
  step(report: StepReport): void;
  evaluation(report: EvaluationReport): void;
}

export interface TrainingOptions {
  readonly config: TrainingConfig;
  readonly events: TrainingEvents;
  /** Finishes the step, saves a checkpoint and returns. */
  readonly signal?: AbortSignal;
}

/** What a run did. */
export interface TrainingResult {
  readonly output: string;
  readonly method: TrainingConfig['method'];
  readonly end: LoopResult['end'];
  readonly steps: number;
  readonly trainable_params: number;
  readonly all_params: number;
  readonly trained_tokens: number;
  readonly final_loss?: number;
  readonly best_eval?: { readonly step: number; readonly loss: number };
  readonly backend: string;
  /** Of the weights' products, in training and in its evaluations: `bf16 (auto: nf4 weights)`. */
  readonly compute: string;
  /** The most that arrays and weights took of a GPU's memory at once. */
  readonly peak_device_bytes?: number;
  readonly seconds: number;
}

/** Trains: LoRA or QLoRA on a model, all of its weights, or a new model from random ones. */
export async function runTraining(options: TrainingOptions): Promise<TrainingResult> {
  const { config, events } = options;
  const startStep = await startingStep(config.output_dir, config);
  const base = await openBase(config, { onProgress: (progress) => events.download(progress) });
  try {
    refuseBaseAsOutput(config, base);
    const data = loadTrainingData(config, base);
    for (const note of dataNotes(data)) events.note(note);
    const shortage = await checkResources(config, base, data);
    if (shortage) events.warn(shortage);
    const onWarning = (text: string) => events.warn(text);
    const map = deviceMapOf(config, (text) => events.note(text));
    const backend = await openBackend({ ...config, ...map, onWarning });
    events.note(`backend: ${backend.description}`);
    const working = () => trainingBytes(config, { base, data, sizes: sizesOf(config, base) });
    const placement = placementOf(map, working);
    const trainee = await openTrainee(config, base, { backend, onWarning, ...placement });
    events.note(`compute: ${computeOf(config, trainee)}`);
    for (const note of trainee.quantization?.plan.notes ?? []) events.note(note);
    try {
      const provenance = await provenanceOf(config, { base, backend, trainee });
      return await train({ ...options, startStep, base, data, backend, provenance, trainee });
    } finally {
      trainee.dispose();
    }
  } finally {
    base.checkpoint?.close();
  }
}

function computeOf({ compute = 'auto' }: TrainingConfig, { model }: Trainee): string {
  return describeCompute(model, compute);
}

function refuseBaseAsOutput({ output_dir }: TrainingConfig, { folder }: Base): void {
  if (resolve(output_dir) !== resolve(folder)) return;
  throw new LlmkitError('config', `output_dir: must be another folder than the model's, ${folder}`);
}

/** Everything a run works with once it is open. */
interface Run extends TrainingOptions {
  readonly startStep: number;
  readonly base: Base;
  readonly data: TrainingData;
  readonly backend: Backend;
  readonly provenance: Provenance;
  readonly trainee: Trainee;
}

async function train(run: Run): Promise<TrainingResult> {
  const { config, events, trainee, data, startStep } = run;
  const { trainable, all } = trainee.parameters;
  events.note(parametersLine(trainable, all));
  const begin = performance.now();
  const trainer = newTrainer({ ...run, onNote: (text) => events.note(text) });
  try {
    const state = await startState(run, trainer);
    await prepareOutput(config.output_dir, startStep === 0);
    const log = new RunLog(config.output_dir, startStep);
    try {
      events.start(state.step, data.totalSteps);
      const result = await loop(run, { trainer, state, log });
      const outcome = describe(run, result, (performance.now() - begin) / 1000);
      if (result.end !== 'interrupted') await finish(run, { trainer, outcome });
      return outcome;
    } finally {
      log.close();
    }
  } finally {
    trainer.dispose();
  }
}

async function startState(run: Run, trainer: Trainer): Promise<TrainingState> {
  const { config, events, startStep, provenance } = run;
  if (startStep === 0) {
    if (config.resume) events.note(`${config.output_dir}: no checkpoint yet, starting at step 0`);
    return { step: 0, trainedTokens: 0, evaluationsSinceBest: 0 };
  }
  const saved = await readCheckpointState(config.output_dir, startStep);
  expectSameRun(saved.run, provenance.record);
  await restoreCheckpoint(config.output_dir, startStep, trainer);
  events.note(`resuming from ${checkpointFolder(config.output_dir, startStep)}`);
  return saved.state;
}

async function loop(
  run: Run,
  { trainer, state, log }: { trainer: Trainer; state: TrainingState; log: RunLog },
): Promise<LoopResult> {
  const { config, events, data } = run;
  const hooks: LoopHooks = {
    onStep(report) {
      log.step(report);
      events.step(report);
    },
    onEvaluation(report) {
      log.evaluation(report);
      events.evaluation(report);
    },
    async save(current) {
      log.flush();
      await save(run, trainer, current);
    },
  };
  return runLoop(state, {
    trainer,
    plan: data.plan,
    totalSteps: data.totalSteps,
    learningRate: schedule({
      name: config.lr_scheduler,
      learningRate: config.learning_rate,
      minLearningRate: config.min_lr,
      warmupSteps: config.warmup_steps,
      totalSteps: data.totalSteps,
    }),
    seed: config.seed,
    saveSteps: config.save_steps,
    evaluation: data.evaluation,
    hooks,
    signal: run.signal,
  });
}

async function save(run: Run, trainer: Trainer, state: TrainingState): Promise<void> {
  const { config, trainee, provenance } = run;
  const { saveExtra: extra } = trainee;
  await saveCheckpoint(config.output_dir, trainer, { state, run: provenance.record, extra });
  const best = config.load_best_at_end ? state.best?.step : undefined;
  await pruneCheckpoints(config.output_dir, config.save_total_limit, best);
}

function describe(
  { config, trainee, backend }: Run,
  { state, end }: LoopResult,
  seconds: number,
): TrainingResult {
  const loss = lastLoss(config.output_dir);
  const peakDeviceBytes = deviceMemory()?.peakBytes();
  return {
    output: config.output_dir,
    method: config.method,
    end,
    steps: state.step,
    trainable_params: trainee.parameters.trainable,
    all_params: trainee.parameters.all,
    trained_tokens: state.trainedTokens,
    ...(loss !== undefined && { final_loss: loss }),
    ...(state.best && { best_eval: state.best }),
    backend: backend.description,
    compute: computeOf(config, trainee),
    ...(peakDeviceBytes !== undefined && { peak_device_bytes: peakDeviceBytes }),
    seconds,
  };
}

/** Writes the result, its manifest and its report into the run's folder. */
async function finish(
  run: Run,
  { trainer, outcome }: { trainer: Trainer; outcome: TrainingResult },
): Promise<void> {
  const { config, base, data, trainee, provenance, events } = run;
  const folder = config.output_dir;
  const best = outcome.best_eval;
  if (config.load_best_at_end && best && best.step !== outcome.steps) {
    events.note(`taking the best evaluation: step ${best.step}, loss ${best.loss.toFixed(4)}`);
    await restoreCheckpoint(folder, best.step, trainer, 'weights');
  }
  await writeRunReport(folder, { title: `lora-train: ${folder}`, facts: factsOf(outcome) });
  await writeManifest(folder, {
    command: 'lora-train',
    config,
    inputs: provenance.inputs,
    ...(provenance.baseModel && { base_model: provenance.baseModel }),
    tokenizer: base.tokenizer.hash,
    ...(base.tokenizer.chatTemplate && { chat_template: base.tokenizer.chatTemplate.hash }),
    template: data.train.template,
    seed: config.seed,
    backend: run.backend.description,
    device: run.backend.device,
    compute: outcome.compute,
    timings: { train: outcome.seconds },
  });
  await publishResult(folder, trainee.save);
  events.note(
    `written: ${join(folder, config.method === 'lora' ? 'adapter_model.safetensors' : 'model.safetensors')}`,
  );
}

function factsOf(outcome: TrainingResult): [string, string][] {
  return Object.entries(outcome).map(([name, value]) => [
    name.replaceAll('_', ' '),
    typeof value === 'object' ? JSON.stringify(value) : String(value),
  ]);
}
