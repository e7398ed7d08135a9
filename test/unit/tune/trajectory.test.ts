import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint, readSafetensors } from '../../../src/checkpoint/checkpoint.js';
import type { Row } from '../../../src/data/example.js';
import { loadModel } from '../../../src/model/load.js';
import { tensor, tidy, Variable } from '../../../src/tensor/tfjs.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { type LanguageModel, Trainer } from '../../../src/tune/trainer.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { sharedData } from '../../helpers/shared-data.js';
import { relativeError } from '../../helpers/tiny-models.js';

const folder = sharedData('peft', 'train') ?? '';
const base = sharedData('stories260k-hf') ?? '';
const isNative = testedBackends.includes('native');
const skip = !folder || !base || !isNative;
if (isNative) await useTestBackend('native');
else process.stderr.write('skipped: trajectories take minutes without the native backend\n');

interface Recorded {
  readonly lr: number;
  readonly loss: number;
  readonly grad_norm: number;
}

interface Trajectory {
  readonly seqs: number[][];
  readonly lora_float64: Recorded[];
  readonly full_float64: Recorded[];
}

/** The recipe of trajectory.json: 4 sequences a step, nothing trained on the first 8 tokens. */
function batch({ seqs }: Trajectory, step: number): Row[] {
  return [0, 1, 2, 3].map((j) => {
    const index = (4 * step + j) % 16;
    const ids = Int32Array.from(seqs[index] ?? []);
    return [{ ids, trained: new Uint8Array(ids.length).fill(1, 8), index, where: `seq ${index}` }];
  });
}

function follow(trajectory: Trajectory, recorded: readonly Recorded[], trainer: Trainer): void {
  recorded.forEach(({ lr, loss, grad_norm }, step) => {
    const result = trainer.step([batch(trajectory, step)], { step, learningRate: lr });
    expect(Math.abs(result.loss / loss - 1), `loss of step ${step}`).toBeLessThan(1e-4);
    expect(Math.abs(result.gradNorm / grad_norm - 1), `norm of step ${step}`).toBeLessThan(1e-3);
  });
}

async function assign(
  variables: ReadonlyMap<string, Variable>,
  path: string,
  toName: (name: string) => string,
) {
  const file = await readSafetensors(path);
  for (const [name, variable] of variables) {
    tidy(() => variable.assign(tensor(file.floats(toName(name)), variable.shape)));
  }
  file.close();
}

/** The largest |a − b| / max |b| over all tensors. */
async function distance(
  variables: ReadonlyMap<string, Variable>,
  path: string,
  toName: (name: string) => string,
) {
  const file = await readSafetensors(path);
  const worst = [...variables].map(([name, variable]) =>
    relativeError(variable.dataSync(), file.floats(toName(name))),
  );
  file.close();
  return Math.max(...worst);
}

function newTrainer(model: LanguageModel, variables: ReadonlyMap<string, Variable>): Trainer {
  const optimizer = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, decays: () => true };
  return new Trainer(model, variables, { optimizer, maxGradNorm: 1, checkpointing: false });
}

test.skipIf(skip)("LoRA follows PEFT's 20 steps of AdamW", async () => {
  const trajectory: Trajectory = JSON.parse(readFileSync(join(folder, 'trajectory.json'), 'utf8'));
  const checkpoint = await openCheckpoint(base);
  const model = await loadModel(checkpoint);
  const config = { r: 8, alpha: 16, dropout: 0, bias: 'none', useRslora: false } as const;
  const { variables } = attachLora(model, { ...config, targetModules: 'all-linear' }, 0);
  const toName = (name: string) => name.replace(/\.weight$/, '.default.weight');
  await assign(variables, join(folder, 'lora_init.safetensors'), toName);
  const trainer = newTrainer(model, variables);
  follow(trajectory, trajectory.lora_float64, trainer);
  expect(await distance(variables, join(folder, 'lora_final.safetensors'), toName)).toBeLessThan(
    2e-3,
  );
  checkpoint.close();
});

test.skipIf(skip)("full training follows torch's 8 steps of AdamW", async () => {
  const trajectory: Trajectory = JSON.parse(readFileSync(join(folder, 'trajectory.json'), 'utf8'));
  const checkpoint = await openCheckpoint(base);
  const model = await loadModel(checkpoint, { trainable: true });
  const variables = new Map(
    [...model.parameters].flatMap(([name, value]) =>
      value instanceof Variable ? [[name, value] as const] : [],
    ),
  );
  expect(variables.size).toBe(47);
  await assign(variables, join(folder, 'full_init.safetensors'), (name) => name);
  const trainer = newTrainer(model, variables);
  follow(trajectory, trajectory.full_float64, trainer);
  const final = join(folder, 'full_final.safetensors');
  expect(await distance(variables, final, (name) => name)).toBeLessThan(1e-4);
  checkpoint.close();
});
