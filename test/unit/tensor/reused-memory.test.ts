import { expect, test } from 'vitest';
import { ReusedMemory } from '../../../src/tensor/reused-memory.js';
import type { WeightData } from '../../../src/tensor/weight.js';

const shape = { format: 'int4', rows: 2, cols: 8, groupSize: 8 } as const;

test('what is given back is handed out again, by its size', () => {
  const memory = new ReusedMemory();
  const [codes, scales] = [memory.take(8), memory.take(16)];
  expect(memory.take(8)).not.toBe(codes);
  memory.giveBack({ ...shape, codes: new Uint8Array(codes), scales: new Float32Array(scales) });
  expect(memory.take(16)).toBe(scales);
  expect(memory.take(8)).toBe(codes);
  expect(memory.take(8)).not.toBe(codes);
});

test('parts of other memory, and those given back already, stay out', () => {
  const memory = new ReusedMemory();
  const codes = new Uint8Array(memory.take(8));
  const data: WeightData = { ...shape, codes, scales: new Float32Array(2) };
  memory.giveBack(data);
  memory.giveBack(data);
  expect(memory.take(8)).toBe(codes.buffer);
  expect(memory.take(8)).not.toBe(codes.buffer); // not twice
});
