import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Checkpoint,
  openCheckpoint,
  readSafetensors,
  type SafetensorsFile,
} from '../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../src/model/decoder.js';
import { loadModel } from '../../src/model/load.js';
import { transposeFloats } from '../../src/model/transpose.js';
import {
  concat,
  memory,
  slice,
  type Tensor,
  type Tensor3D,
  tidy,
  type Variable,
  variableGrads,
} from '../../src/tensor/tfjs.js';
import { AdamW } from '../../src/tune/optimizer.js';
import { loadAdapter } from '../../src/tune/peft/index.js';
import { isInvariant, testedBackends, useTestBackend } from '../helpers/backends.js';
import { meanTokenLoss } from '../helpers/losses.js';
import { type Golden, readGolden, relativeError, tinyModels } from '../helpers/tiny-models.js';

const TOLERANCE = 1e-4;

describe.each(testedBackends)('%s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  describe.each(tinyModels)('%s', (folder) => {
    const golden: Golden = readGolden(folder);
    const rows = golden.rows.map((ids) => ({ ids }));
    let checkpoint: Checkpoint;
    let reference: SafetensorsFile;
    let model: Decoder;

    beforeAll(async () => {
      checkpoint = await openCheckpoint(folder);
      reference = await readSafetensors(join(folder, 'golden.safetensors'));
      model = await loadModel(checkpoint, { trainable: true });
    });
    afterAll(() => {
      model.dispose();
      reference.close();
      checkpoint.close();
    });

    /** As the decoder holds the parameter: [out, in]. */
    const referenceGradient = (name: string) => {
      const values = reference.floats(`gradient.${name}`);
      const linear = model.linears.get(name.replace(/\.weight$/, ''));
      if (!linear?.transposedOnDisk) return values;
      return transposeFloats(values, linear.inFeatures, linear.outFeatures);
    };

    /** Hidden states of the tokens of one row. */
    const hiddenOf = (hidden: Tensor3D, row: number, start = 0) =>
      slice(hidden, [row, start, 0], [1, (rows[row]?.ids.length ?? 0) - start, -1]);
    const logitsOf = (hidden: Tensor3D, row: number) =>
      tidy(() => model.logits(hiddenOf(hidden, row)).dataSync());

    test('logits of padded rows', () => {
      tidy(() => {
        const hidden = model.forward(rows);
        rows.forEach((_, i) => {
          const expected = reference.floats(`logits.${i}`);
          expect(relativeError(logitsOf(hidden, i), expected)).toBeLessThan(TOLERANCE);
        });
      });
    });

    test.each([false, true])('gradients of all parameters, checkpointing %s', (checkpointing) => {
      const names = [...model.parameters.keys()];
      const variables = [...model.parameters.values()] as Variable[];
      const expected = [...reference.tensors.keys()].filter((name) => name.startsWith('gradient.'));
      expect(names.map((name) => `gradient.${name}`).sort()).toEqual(expected.sort());
      const before = memory().numTensors;
      tidy(() => {
        const loss = () => meanTokenLoss(model, rows, { checkpointing });
        const { value, grads } = variableGrads(loss, variables);
        expectLoss(value, golden.loss);
        for (const [name, parameter] of model.parameters) {
          const gradient = grads[(parameter as Variable).name]?.dataSync() ?? [];
          expect(relativeError(gradient, referenceGradient(name)), name).toBeLessThan(TOLERANCE);
        }
      });
      expect(memory().numTensors).toBe(before);
    });

    test('ten LoRA steps', async () => {
      const base = await loadModel(checkpoint);
      const adapter = await loadAdapter(base, join(folder, 'adapter'), { trainable: true });
      const { lr: learningRate, betas, eps, weight_decay: weightDecay } = golden.adamw;
      const optimizer = new AdamW(adapter.variables, {
        beta1: betas[0],
        beta2: betas[1],
        eps,
        weightDecay,
      });
      golden.lora_losses.forEach((expected, i) => {
        tidy(() => {
          const variables = [...adapter.variables.values()];
          const { value, grads } = variableGrads(() => meanTokenLoss(base, rows), variables);
          expectLoss(value, expected);
          const gradients = [...adapter.variables].map(
            ([name, parameter]) => [name, grads[parameter.name] as Tensor] as const,
          );
          optimizer.apply(new Map(gradients), { step: i + 1, learningRate, gradientScale: 1 });
        });
      });
      optimizer.dispose();
      adapter.dispose();
      base.dispose();
    });

    test('decoding with a cache, in chunks, equals the whole', () => {
      const [first] = rows;
      const ids = first?.ids ?? [];
      const before = memory().numTensors;
      const cache = model.newCache(1);
      for (const [start, end] of [
        [0, 9],
        [9, 10],
        [10, 17],
        [17, 18],
        [18, ids.length],
      ] as const) {
        tidy(() => {
          const hidden = model.forward([{ ids: ids.slice(start, end) }], { cache });
          const whole = model.forward([{ ids: ids.slice(0, end) }]);
          const expected = slice(whole, [0, start, 0], [1, end - start, -1]);
          expectSame(hidden, expected, backend);
        });
      }
      expect(cache.lengths).toEqual([ids.length]);
      cache.dispose();
      expect(memory().numTensors).toBe(before);
    });

    test('cached rows of different lengths do not disturb each other', () => {
      const cache = model.newCache(2);
      tidy(() => {
        model.forward(
          rows.map(({ ids }) => ({ ids: ids.slice(0, -3) })),
          { cache },
        );
        const hidden = model.forward(
          rows.map(({ ids }) => ({ ids: ids.slice(-3) })),
          { cache },
        );
        rows.forEach((row, b) => {
          const alone = model.forward([row]);
          const expected = slice(alone, [0, row.ids.length - 3, 0], [1, 3, -1]);
          expectSame(slice(hidden, [b, 0, 0], [1, 3, -1]), expected, backend);
        });
      });
      cache.dispose();
    });

    test('packed segments equal separate rows', () => {
      tidy(() => {
        const segmentLengths = rows.map(({ ids }) => ids.length);
        const packed = model.forward([
          { ids: rows.flatMap(({ ids }) => [...ids]), segmentLengths },
        ]);
        const alone = rows.map((row) => model.forward([row]));
        expectSame(packed, concat(alone, 1), backend);
      });
    });

    test('a row is the same whatever the batch', () => {
      tidy(() => {
        const batch = model.forward([...rows, ...rows, { ids: [5] }]);
        rows.forEach((row, b) => {
          expectSame(hiddenOf(batch, b), model.forward([row]), backend);
        });
      });
    });
  });
});

function expectLoss(actual: Tensor, expected: number): void {
  expect(Math.abs((actual.dataSync()[0] ?? 0) / expected - 1)).toBeLessThan(TOLERANCE);
}

/** Bit for bit on native; elsewhere sums are ordered by the shape. */
function expectSame(actual: Tensor, expected: Tensor, backend: string): void {
  if (isInvariant(backend)) expect(actual.dataSync()).toEqual(expected.dataSync());
  else expect(relativeError(actual.dataSync(), expected.dataSync())).toBeLessThan(1e-5);
}
