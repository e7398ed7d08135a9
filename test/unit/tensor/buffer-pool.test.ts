import { expect, test } from 'vitest';
import { BufferPool } from '../../../src/tensor/backends/buffer-pool.js';

const newPool = () => new BufferPool((bytes) => new ArrayBuffer(bytes));

test('a released array is used again, also for a little less', () => {
  const pool = newPool();
  const array = pool.acquire(10_000);
  pool.release(array);
  const again = pool.acquire(9_900);
  expect(again.buffer).toBe(array.buffer);
  expect(again).toHaveLength(9_900);
  pool.release(again);
  expect(pool.acquire(10_000).buffer).toBe(array.buffer);
  expect(pool.acquire(10_000).buffer).not.toBe(array.buffer);
});

test('a length gets at most an eighth more than it needs', () => {
  for (const length of [1, 3, 256, 257, 511, 512, 513, 100_001, 3_000_001]) {
    const { buffer } = newPool().acquire(length);
    expect(buffer.byteLength).toBeGreaterThanOrEqual(length * 4);
    expect(buffer.byteLength).toBeLessThanOrEqual(length * 4 * 1.13);
  }
});

test('what waits is bounded by the peak use, and the stalest sizes go first', () => {
  const pool = newPool();
  const megabytes = (count: number) => (count * 2 ** 20) / 4;
  for (let size = 1; size < 30; size++) pool.release(pool.acquire(megabytes(size)));
  expect(pool.inUseBytes).toBe(0);
  expect(pool.freeBytes).toBeLessThanOrEqual(1.25 * 29 * 2 ** 20 * 1.125);
  const waiting = pool.freeBytes;
  pool.release(pool.acquire(megabytes(29)));
  expect(pool.freeBytes).toBe(waiting);
});
