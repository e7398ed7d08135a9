import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { toDtype, writeSafetensors } from '../../../src/checkpoint/writer.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { HEAD } from '../../../src/model/layout.js';
import { type LoadOptions, loadModel } from '../../../src/model/load.js';
import { packedPath } from '../../../src/model/packed-cache.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { tensor2d, tidy } from '../../../src/tensor/tfjs.js';
import type { Weight } from '../../../src/tensor/weight.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const TABLE = 'model.embed_tokens';
/** The bundled model, whose table of tokens is its head too. */
const BUNDLED = join('fixtures', 'models', 'tales-2m');
const compute = { choice: 'bf16', use: 'generate' } as const;

beforeAll(() => useBackend('native', { device: 'cpu' }));

/** Its tensors as `dtype`, in a folder of their own. */
async function modelIn(dtype: 'BF16' | 'F16'): Promise<string> {
  const folder = temporaryFolder();
  cpSync(join(BUNDLED, 'config.json'), join(folder, 'config.json'));
  const checkpoint = await openCheckpoint(BUNDLED);
  const tensors = [...checkpoint.tensors.values()].map(({ name, shape }) => {
    const bytes = toDtype(checkpoint.floats(name), dtype);
    return [name, { dtype, shape, bytes }] as const;
  });
  await writeSafetensors(join(folder, 'model.safetensors'), new Map(tensors));
  checkpoint.close();
  return folder;
}

/** Loads a model and looks up rows; returns them and those of the file, and whether the stored bytes are held. */
async function rowsOf(folder: string, options: LoadOptions = {}) {
  const checkpoint = await openCheckpoint(folder);
  const model = await loadModel(checkpoint, { compute, ...options });
  const weight = model.linears.get(HEAD)?.weight as Weight;
  expect(weight.compute).toBe('bf16');
  const ids = [0, 17, weight.rows - 1, 17];
  const got = lookUp(model, ids);
  const want = ids.flatMap((id) => [...stored(checkpoint, weight.cols, id)]);
  const holdsBytes = weight.stored !== weight;
  model.dispose();
  checkpoint.close();
  return { got, want, holdsBytes };
}

function lookUp(model: Decoder, ids: readonly number[]): number[] {
  return tidy(() => {
    const rows = model.embeddings.get(TABLE)?.forward(tensor2d([...ids], [1, ids.length], 'int32'));
    return [...(rows?.dataSync() ?? [])];
  });
}

function stored(checkpoint: Checkpoint, cols: number, id: number): Float32Array {
  return checkpoint.floats(`${TABLE}.weight`).subarray(id * cols, (id + 1) * cols);
}

test('a table that is the head too is held once: its rows come from the packed form, to the bit', async () => {
  const { got, want, holdsBytes } = await rowsOf(await modelIn('BF16'));
  expect(got).toEqual(want);
  expect(holdsBytes).toBe(false);
});

test('the same from a file of packed weights', async () => {
  const folder = await modelIn('BF16');
  await new Promise((done) => setTimeout(done, 50)); // what has only just been written is not kept
  await rowsOf(folder, { cachePacked: true });
  expect(readFileSync(packedPath(folder, 'bf16')).length).toBeGreaterThan(0);
  const { got, want, holdsBytes } = await rowsOf(folder, { cachePacked: true });
  expect(got).toEqual(want);
  expect(holdsBytes).toBe(false);
});

test('what packing rounds is read as it was stored', async () => {
  const { got, want, holdsBytes } = await rowsOf(await modelIn('F16'));
  expect(got).toEqual(want);
  expect(holdsBytes).toBe(true);
});
