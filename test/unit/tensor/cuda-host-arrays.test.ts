import { afterEach, describe, expect, test } from 'vitest';
import type { DeviceFloats } from '../../../src/tensor/backends/arrays.js';
import { useCuda } from '../../helpers/cuda.js';

const addon = await useCuda();
/** Elements of one large array and of many small ones, which do not all fit beside each other. */
const [LARGE, SMALL, COUNT] = [8192, 1024, 64] as const;
const FLOAT_BYTES = 4;
const NO_LIMIT = Number.MAX_SAFE_INTEGER;
const one = addon.upload(Float32Array.of(1));

afterEach(() => {
  addon.limitDeviceMemory(NO_LIMIT);
  delete process.env.LLMKIT_EMULATED_STREAMS;
  expect(addon.hostArrays()).toEqual({ hostBytes: 0, deviceBytes: 0, aheadBytes: 0 });
});

/** Arrays whose home is the host, element i of them full of i. */
function pagedArrays(): readonly DeviceFloats[] {
  const lengths = [LARGE, ...Array<number>(COUNT).fill(SMALL)];
  return lengths.map((length, i) => {
    const array = addon.upload(new Float32Array(length).fill(i));
    addon.keepArrayOnHost(array);
    return array;
  });
}

/** Adds 1 to each array in turn. @returns the bytes that are ahead after each */
function addOne(arrays: readonly DeviceFloats[]): number[] {
  return arrays.map((array) => {
    addon.changeArray(array);
    addon.binary('add', array, one, array, array.length, 'full', 'scalar');
    return addon.hostArrays().aheadBytes;
  });
}

test('an op goes on where there is no memory for what comes after it', () => {
  const upload = (value: number) => addon.upload(new Float32Array(SMALL).fill(value));
  // Six of them are on the device at once.
  const arrays = Array.from({ length: 9 }, (_, i) => upload(i));
  for (const array of arrays) addon.keepArrayOnHost(array);
  for (let round = 0; round < 3; round++) addOne(arrays);
  // The first is ahead already. Two that are on the device make room, which something else takes.
  for (const array of arrays.splice(6, 2)) addon.release(array);
  const others: DeviceFloats[] = [];
  addon.limitDeviceMemory(addon.deviceMemory().inUseBytes);
  expect(() => {
    for (;;) others.push(upload(0));
  }).toThrow('no memory on the GPU');
  expect(addOne(arrays.slice(0, 1))).toEqual([0]);
  addon.limitDeviceMemory(NO_LIMIT);
  addOne(arrays.slice(1));
  arrays.forEach((array, i) => {
    expect(new Set(addon.readSync(array))).toEqual(new Set([(i < 6 ? i : 8) + 4]));
  });
  for (const array of [...arrays, ...others]) addon.release(array);
});

describe.each(['late', 'early'])('arrays on the host, copied %s', (when) => {
  test('come ahead of their use, as many as take no more than the largest', () => {
    process.env.LLMKIT_EMULATED_STREAMS = when;
    const arrays = pagedArrays();
    expect(Math.max(...addOne(arrays))).toBe(0);
    addOne(arrays);
    const ahead = addOne(arrays);
    // The end of one round and the beginning of the next are expected as well.
    const small = ahead.slice(1, COUNT - LARGE / SMALL);
    expect(new Set(small)).toEqual(new Set([LARGE * FLOAT_BYTES]));
    expect(Math.max(...ahead)).toBe(LARGE * FLOAT_BYTES);
    arrays.forEach((array, i) => {
      expect(new Set(addon.readSync(array))).toEqual(new Set([i + 3]));
      addon.release(array);
    });
  });

  test('are right in another order than before', () => {
    process.env.LLMKIT_EMULATED_STREAMS = when;
    const arrays = pagedArrays();
    addOne(arrays);
    addOne([...arrays].reverse());
    addOne(arrays.filter((_, i) => i % 3 === 0));
    for (const array of arrays.slice(10, 20)) addon.release(array);
    const rest = [...arrays.slice(20), ...arrays.slice(0, 10)];
    addOne(rest);
    for (const array of rest) {
      const i = arrays.indexOf(array);
      expect(new Set(addon.readSync(array))).toEqual(new Set([i + (i % 3 === 0 ? 4 : 3)]));
      addon.release(array);
    }
  });
});
