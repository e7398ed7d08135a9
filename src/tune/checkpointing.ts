import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFolder } from '../checkpoint/output.js';
import { readSafetensors, type TensorSource } from '../checkpoint/safetensors.js';
import { type StoredTensor, writeSafetensors } from '../checkpoint/writer.js';
import { LlmkitError } from '../errors.js';
import type { Tensor, Variable } from '../tensor/tfjs.js';
import * as tf from '../tensor/tfjs.js';
import type { Trainer } from './trainer.js';

const TENSORS_FILE = 'training.safetensors';
const STATE_FILE = 'training.json';

/** Where a run stands between two steps, beside its tensors. All that is random follows from it. */
export interface TrainingState {
  /** Optimizer steps done; with the seed it is the data cursor too. */
  readonly step: number;
  readonly trainedTokens: number;
  /** The best evaluation so far. */
  readonly best?: { readonly step: number; readonly loss: number };
  /** Evaluations since the best one. */
  readonly evaluationsSinceBest: number;
}

/** What a run must share with the one it resumes: its configuration and what it reads. */
export type RunRecord = Readonly<Record<string, unknown>>;

interface SavedState {
  readonly state: TrainingState;
  readonly run: RunRecord;
}

export function checkpointFolder(outputDir: string, step: number): string {
  return join(outputDir, `checkpoint-${step}`);
}

/** The steps that a folder has checkpoints of, ascending. */
export async function checkpointSteps(outputDir: string): Promise<number[]> {
  const names = await readdir(outputDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const steps = names.flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? []);
  return steps.map(Number).sort((a, b) => a - b);
}

export interface SaveOptions {
  readonly state: TrainingState;
  readonly run: RunRecord;
  /** Adds files that make the checkpoint usable by itself (a PEFT adapter). */
  readonly extra?: ((folder: string) => Promise<void>) | undefined;
}

/** Writes `checkpoint-N`, whole or not at all. */
export async function saveCheckpoint(
  outputDir: string,
  trainer: Trainer,
  { state, run, extra }: SaveOptions,
): Promise<void> {
  const target = checkpointFolder(outputDir, state.step);
  await rm(target, { recursive: true, force: true });
  await writeFolder(target, {}, async (folder) => {
    const saved: SavedState = { state, run };
    await writeSafetensors(join(folder, TENSORS_FILE), new Map(storedTensors(trainer)));
    await writeFile(join(folder, STATE_FILE), `${JSON.stringify(saved, null, 2)}\n`);
    await extra?.(folder);
  });
}

function* storedTensors(trainer: Trainer) {
  for (const [name, variable] of stateVariables(trainer)) yield [name, stored(variable)] as const;
}

/** Everything that training changes, by its name in a checkpoint. */
function* stateVariables({ variables, optimizer }: Trainer): Generator<[string, Variable]> {
  for (const [name, variable] of variables) yield [`weight/${name}`, variable];
  yield* optimizer.states();
}

function stored(tensor: Tensor): StoredTensor {
  const bytes = async () => {
    const values = await tensor.data();
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  };
  return { dtype: storedDtype(tensor), shape: tensor.shape, bytes };
}

function storedDtype({ dtype }: Tensor): 'F32' | 'I32' {
  return dtype === 'int32' ? 'I32' : 'F32';
}

/** The state of a checkpoint without its tensors. @throws LlmkitError `checkpoint` */
export async function readCheckpointState(outputDir: string, step: number): Promise<SavedState> {
  const path = join(checkpointFolder(outputDir, step), STATE_FILE);
  try {
    return JSON.parse(await readFile(path, 'utf8')) as SavedState;
  } catch (error) {
    throw new LlmkitError(
      'checkpoint',
      `${path}: expected the state of a training run: ${(error as Error).message}`,
    );
  }
}

/**
 * Puts a checkpoint's tensors into a trainer.
 *
 * @param what `weights`: leaves the optimizer as it is
 * @throws LlmkitError `checkpoint` when a tensor is missing or has another shape
 */
export async function restoreCheckpoint(
  outputDir: string,
  step: number,
  trainer: Trainer,
  what: 'all' | 'weights' = 'all',
): Promise<void> {
  const path = join(checkpointFolder(outputDir, step), TENSORS_FILE);
  const file = await readSafetensors(path);
  try {
    for (const [name, variable] of stateVariables(trainer)) {
      if (what === 'weights' && !name.startsWith('weight/')) continue;
      const expected = `${storedDtype(variable)} [${variable.shape}]`;
      const found = file.tensors.get(name);
      const got = found ? `${found.dtype} [${found.shape}]` : 'no such tensor';
      if (got !== expected) {
        throw new LlmkitError('checkpoint', `${path}: expected ${name} of ${expected}, got ${got}`);
      }
      tf.tidy(() => variable.assign(restored(file, name, variable)));
    }
  } finally {
    file.close();
  }
}

function restored(file: TensorSource, name: string, { shape, dtype }: Variable): Tensor {
  if (dtype !== 'int32') return tf.tensor(file.floats(name), shape);
  return tf.tensor(new Int32Array(file.bytes(name).slice().buffer), shape, 'int32');
}

/** Deletes the oldest checkpoints beyond a limit; `keep` stays whatever its age. */
export async function pruneCheckpoints(
  outputDir: string,
  limit: number | undefined,
  keep: number | undefined,
): Promise<void> {
  if (limit === undefined) return;
  const steps = (await checkpointSteps(outputDir)).filter((step) => step !== keep);
  const allowed = Math.max(1, keep === undefined ? limit : limit - 1);
  for (const step of steps.slice(0, Math.max(0, steps.length - allowed))) {
    await rm(checkpointFolder(outputDir, step), { recursive: true });
  }
}
