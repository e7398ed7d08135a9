import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint, readSafetensors } from '../../../src/checkpoint/checkpoint.js';
import type { Row } from '../../../src/data/example.js';
import { loadModel } from '../../../src/model/load.js';
import { type BackendName, useBackend } from '../../../src/tensor/backends/index.js';
import { tensor, tidy, Variable } from '../../../src/tensor/tfjs.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { type LanguageModel, Trainer } from '../../../src/tune/trainer.js';
import { sharedData } from '../../helpers/shared-data.js';
import { relativeError } from '../../helpers/tiny-models.js';

const folder = sharedData('peft', 'train') ?? '';
const base = sharedData('stories260k-hf') ?? '';

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

/** The reference backend takes seconds a step: two of them show that it agrees. */
const SHOWN_STEPS = { native: 100, reference: 2, tensorflow: 100 };

/** @returns whether every recorded step was taken */
function follow(
  trajectory: Trajectory,
  all: readonly Recorded[],
  { trainer, backend }: { trainer: Trainer; backend: BackendName },
): boolean {
  const recorded = all.slice(0, SHOWN_STEPS[backend]);
  recorded.forEach(({ lr, loss, grad_norm }, step) => {
    const result = trainer.step([batch(trajectory, step)], { step, learningRate: lr });
    expect(Math.abs(result.loss / loss - 1), `loss of step ${step}`).toBeLessThan(1e-4);
    expect(Math.abs(result.gradNorm / grad_norm - 1), `norm of step ${step}`).toBeLessThan(1e-3);
  });
  return recorded.length === all.length;
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

test.skipIf(!folder || !base)("LoRA follows PEFT's 20 steps of AdamW", async () => {
  const { name: backend } = await useBackend();
  const trajectory: Trajectory = JSON.parse(readFileSync(join(folder, 'trajectory.json'), 'utf8'));
  const checkpoint = await openCheckpoint(base);
  const model = await loadModel(checkpoint);
  const config = { r: 8, alpha: 16, dropout: 0, bias: 'none', useRslora: false } as const;
  const { variables } = attachLora(model, { ...config, targetModules: 'all-linear' }, 0);
  const toName = (name: string) => name.replace(/\.weight$/, '.default.weight');
  await assign(variables, join(folder, 'lora_init.safetensors'), toName);
  const trainer = newTrainer(model, variables);
  if (!follow(trajectory, trajectory.lora_float64, { trainer, backend })) return;
  expect(await distance(variables, join(folder, 'lora_final.safetensors'), toName)).toBeLessThan(
    2e-3,
  );
  checkpoint.close();
});

test.skipIf(!folder || !base)("full training follows torch's 8 steps of AdamW", async () => {
  const { name: backend } = await useBackend();
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
  if (!follow(trajectory, trajectory.full_float64, { trainer, backend })) return;
  const final = join(folder, 'full_final.safetensors');
  expect(await distance(variables, final, (name) => name)).toBeLessThan(2e-3);
  checkpoint.close();
});
