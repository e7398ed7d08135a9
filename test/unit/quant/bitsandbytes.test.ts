import { afterAll, describe, expect, test } from 'vitest';
import { readSafetensors } from '../../../src/checkpoint/checkpoint.js';
import { rtn } from '../../../src/quant/methods/rtn.js';
import { dynamicMap } from '../../../src/quant/nested-scales.js';
import { schemes } from '../../../src/quant/schemes/index.js';
import { dequantize, type NestedScales, type WeightData } from '../../../src/tensor/weight.js';
import { sharedData } from '../../helpers/shared-data.js';
import { hex } from './golden-input.js';

const path = sharedData('quant', 'bitsandbytes', 'bnb_blockwise.safetensors');
const file = path === undefined ? undefined : await readSafetensors(path);

/** `matrix|scheme|groupSize` of every case but zeros_64, whose scale the library raises to 1e-38. */
const cases = [...(file?.tensors.keys() ?? [])].flatMap((name) => {
  const [, key = '', scheme = ''] = /^(.*\|(nf4dq|nf4|fp4).*)\|packed$/.exec(name) ?? [];
  return key === '' || key.startsWith('zeros_64') ? [] : [{ key, scheme }];
});

afterAll(() => file?.close());

function stored(name: string): string {
  return Buffer.from(file?.bytes(name) ?? []).toString('hex');
}

function quantize(key: string, scheme: string): WeightData {
  const [matrix, , groupSize = '64'] = key.split('|');
  const values = file?.floats(`${matrix}|x`) ?? new Float32Array();
  const doubleQuant = scheme === 'nf4dq';
  const options = { groupSize: Number(groupSize), dtype: 'F32', doubleQuant } as const;
  const found = schemes[scheme.slice(0, 3)];
  if (found === undefined) throw new Error(`no scheme ${scheme}`);
  return rtn(found, values, [1, values.length], options);
}

describe.skipIf(file === undefined)('the same bytes as bitsandbytes on real matrices', () => {
  test.each(cases.filter(({ scheme }) => scheme !== 'nf4dq'))('$key', ({ key, scheme }) => {
    const data = quantize(key, scheme);
    expect(hex(data.codes)).toBe(stored(`${key}|packed`));
    expect(hex(data.scales as Float32Array)).toBe(stored(`${key}|absmax`));
    expectSameValues(dequantize(data), `${key}|dequant`);
  });

  test.each(cases.filter(({ scheme }) => scheme === 'nf4dq'))('$key', ({ key, scheme }) => {
    const data = quantize(key, scheme);
    const scales = data.scales as NestedScales;
    expect(hex(data.codes)).toBe(stored(`${key}|packed`));
    expect(hex(Float32Array.of(scales.offset))).toBe(stored(`${key}|offset`));
    expect(hex(scales.absmax)).toBe(stored(`${key}|absmax2`));
    expect(hex(scales.codes)).toBe(stored(`${key}|absmax_u8`));
    expectSameValues(dequantize(data), `${key}|dequant`);
  });

  test('the dynamic map', () => {
    expect(hex(dynamicMap())).toBe(stored('code|dynamic8'));
  });
});

/** Equal numbers; a zero may have either sign. */
function expectSameValues(values: Float32Array, name: string): void {
  const want = file?.floats(name) ?? new Float32Array();
  expect(values.length).toBe(want.length);
  expect(values.findIndex((value, i) => value !== want[i])).toBe(-1);
}
