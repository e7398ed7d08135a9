import { setImmediate as nextTurn } from 'node:timers/promises';
import type { BatchPlan } from '../data/batches.js';
import type { Row } from '../data/example.js';
import { randomIntegers } from '../data/random.js';
import type { TrainingState } from './checkpointing.js';
import type { StepResult, Trainer } from './trainer.js';

/** What happened in one step. */
export interface StepReport extends StepResult {
  /** Optimizer steps done, from 1. */
  readonly step: number;
  /** Passes over the data, as a fraction. */
  readonly epoch: number;
  readonly learningRate: number;
  readonly seconds: number;
}

export interface EvaluationReport {
  readonly step: number;
  readonly loss: number;
  readonly trainedTokens: number;
}

/** Where the loop reports to and saves. */
export interface LoopHooks {
  onStep(report: StepReport): void;
  onEvaluation(report: EvaluationReport): void;
  save(state: TrainingState): Promise<void>;
}

export interface LoopOptions {
  readonly trainer: Trainer;
  readonly plan: BatchPlan;
  readonly totalSteps: number;
  readonly learningRate: (step: number) => number;
  readonly seed: number;
  readonly saveSteps: number;
  readonly evaluation?: EvaluationOptions | undefined;
  readonly hooks: LoopHooks;
  /** Finishes the step, saves and returns. */
  readonly signal?: AbortSignal | undefined;
}

export interface EvaluationOptions {
  readonly batches: readonly (readonly Row[])[];
  readonly everySteps: number;
  /** Stops after this many evaluations without a better one. */
  readonly patience?: number | undefined;
  /** Saves a checkpoint at every best evaluation. */
  readonly saveBest: boolean;
}

/** How a run ended, and where. */
export interface LoopResult {
  readonly end: 'finished' | 'stopped early' | 'interrupted';
  readonly state: TrainingState;
}

/** Trains from a state to the end, an interruption or an early stop; always saves where it ends. */
export async function runLoop(start: TrainingState, options: LoopOptions): Promise<LoopResult> {
  const { totalSteps, signal, hooks } = options;
  let state = start;
  let saved = start.step;
  while (state.step < totalSteps && !isStale(state, options) && !signal?.aborted) {
    state = trainOnce(state, options);
    const before = state.best?.step;
    state = await evaluateWhenDue(state, options);
    const isNewBest = state.best?.step !== before && options.evaluation?.saveBest === true;
    if (state.step % options.saveSteps === 0 || isNewBest) {
      await hooks.save(state);
      saved = state.step;
    }
    await nextTurn(); // signals are delivered between turns
  }
  if (saved !== state.step) await hooks.save(state);
  if (state.step >= totalSteps) return { end: 'finished', state };
  return { end: isStale(state, options) ? 'stopped early' : 'interrupted', state };
}

function isStale(state: TrainingState, { evaluation }: LoopOptions): boolean {
  const { patience } = evaluation ?? {};
  return patience !== undefined && state.evaluationsSinceBest >= patience;
}

function trainOnce(state: TrainingState, options: LoopOptions): TrainingState {
  const { trainer, plan, seed, hooks } = options;
  const { step } = state;
  const begin = performance.now();
  const learningRate = options.learningRate(step);
  const dropoutSeed = randomIntegers(seed, plan.epochOf(step))();
  const result = trainer.step(plan.step(step), { step, learningRate, dropoutSeed });
  const seconds = (performance.now() - begin) / 1000;
  const epoch = (step + 1) / plan.stepsPerEpoch;
  hooks.onStep({ ...result, step: step + 1, epoch, learningRate, seconds });
  return { ...state, step: step + 1, trainedTokens: state.trainedTokens + result.trainedTokens };
}

async function evaluateWhenDue(state: TrainingState, options: LoopOptions): Promise<TrainingState> {
  const { evaluation, trainer, totalSteps, hooks } = options;
  const { step, best } = state;
  if (!evaluation || (step % evaluation.everySteps !== 0 && step !== totalSteps)) return state;
  const { loss, trainedTokens } = await trainer.evaluate(evaluation.batches);
  hooks.onEvaluation({ step, loss, trainedTokens });
  if (best && !(loss < best.loss)) {
    return { ...state, evaluationsSinceBest: state.evaluationsSinceBest + 1 };
  }
  return { ...state, best: { step, loss }, evaluationsSinceBest: 0 };
}
