import { expect, test } from 'vitest';
import { type Room, shapesWithRoom } from '../../../bench/cuda/room.js';
import { cudaWorks } from '../../../bench/cuda/run.js';
import { openModelCache } from '../../../bench/models/cache.js';
import { parseOptions } from '../../../bench/options.js';
import { NO_PEERS } from '../../../bench/peers/index.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

function contextOf(...flags: string[]) {
  const folder = temporaryFolder();
  const models = openModelCache(folder, folder);
  return { options: parseOptions(flags), root: folder, models, peers: NO_PEERS, text: '' };
}

const ROOM: Room = { disk: 64e9, memory: 64e9, gpu: 80e9 };

test('a run on a GPU has the 1.1B and the 8B shape; a named shape and a quick run are alone', () => {
  const notes: string[] = [];
  const shapes = (...flags: string[]) =>
    shapesWithRoom(contextOf(...flags), ROOM, (text) => notes.push(text)).map(({ name }) => name);
  expect(shapes('cuda')).toEqual(['tinyllama', 'llama-8b']);
  expect(shapes('cuda', '--shape', 'llama-8b')).toEqual(['llama-8b']);
  expect(shapes('cuda', '--quick')).toEqual(['tinyllama']);
  expect(shapes('cpu')).toEqual(['tinyllama']);
  expect(notes).toEqual([]);
});

test('one line says what the 8B shape lacks', () => {
  const notes: string[] = [];
  const room = { ...ROOM, disk: 20e9, gpu: 16e9 };
  const [own, ...others] = shapesWithRoom(contextOf('cuda'), room, (text) => notes.push(text));
  expect([own?.name, others]).toEqual(['tinyllama', []]);
  expect(notes).toEqual([
    'left out: llama-8b: needs on disk 35.1 GB, free 20.0; needs on the GPU 24.1 GB, free 16.0',
  ]);
});

test('names tell the shapes apart, and a work without a shape runs once', () => {
  const context = contextOf('cuda');
  const { shape, furtherShapes } = context.options;
  const names = cudaWorks(context, [shape, ...furtherShapes]).map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of ['generate tinyllama int4', 'generate llama-8b int4']) {
    expect(names).toContain(name);
  }
  expect(names).toContain('QLoRA r=16, nf4, checkpointing, llama-8b B=1 S=4096, 2 threads');
  expect(names.filter((name) => name.startsWith('full training'))).toHaveLength(1);
  const rows = cudaWorks(context, [shape, ...furtherShapes]).flatMap(({ metrics }) => metrics);
  expect(new Set(rows.map(({ work }) => work)).size).toBe(rows.length);
});
