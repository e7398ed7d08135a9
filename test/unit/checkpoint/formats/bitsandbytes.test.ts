import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { toDtype } from '../../../../src/checkpoint/dtype.js';
import {
  bitsandbytesConfig,
  describeBitsandbytes,
  encodeBitsandbytes,
  type TorchDtype,
} from '../../../../src/checkpoint/formats/bitsandbytes.js';
import { layoutOf } from '../../../../src/checkpoint/formats/index.js';
import { quantStateJson } from '../../../../src/checkpoint/formats/quant-state.js';
import { readSafetensors, type StoredTensor } from '../../../../src/checkpoint/safetensors.js';
import type { NamedTensor } from '../../../../src/checkpoint/writer.js';
import { dequantize, type WeightData } from '../../../../src/tensor/weight.js';
import { sharedData } from '../../../helpers/shared-data.js';
import { goldenFormats, goldenTensor, sourceOf } from './golden.js';

const config = (quantization: object = {}) => ({
  quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true, ...quantization },
});
const layout = layoutOf(config(), 'config.json');
const matrixOf = (tensors: readonly NamedTensor[]): WeightData => {
  const source = sourceOf(tensors);
  expect(layout?.modules(source.tensors.keys())).toEqual(['P']);
  return layout?.matrix('P', source) as WeightData;
};

/** Values without negative zeros: FP4 has two zeros, and which sign the second has does not matter. */
const valuesOf = (data: WeightData) => dequantize(data).map((value) => value + 0);

const golden = goldenFormats();
describe.runIf(golden)('golden bytes of bitsandbytes', () => {
  const names = Object.keys(golden ?? {}).filter((name) => /^bnb_(nf4|fp4)/.test(name));
  expect(names.length === 0 || names.length === 8).toBe(true);

  test.each(names)('%s: read to the same values, written to the same bytes', (name) => {
    const { dequant, quant_state_json: _, ...stored } = golden?.[name] ?? {};
    const dtype = /float32/.test(name) ? 'float32' : 'bfloat16';
    const tensors = Object.entries(stored).map(([key, tensor]) => goldenTensor(`P.${key}`, tensor));
    const data = matrixOf(tensors);
    expect(data.codes).toBe(tensors[0]?.bytes); // not copied
    const values = toDtype(valuesOf(data), dtype === 'float32' ? 'F32' : 'BF16');
    expect(values).toEqual(goldenTensor('dequant', dequant as never).bytes);
    const written = encodeBitsandbytes('P', data, dtype as TorchDtype);
    const byName = (a: NamedTensor, b: NamedTensor) => (a.name < b.name ? -1 : 1);
    expect(written.sort(byName)).toEqual(tensors.sort(byName));
  });

  test('LLM.int8: q times the row maximum / 127', () => {
    const { weight, SCB } = golden?.bnb_int8 ?? {};
    const tensors = [
      goldenTensor('P.weight', weight as never),
      goldenTensor('P.SCB', SCB as never),
    ];
    const data = matrixOf(tensors);
    const scale = sourceOf(tensors).floats('P.SCB');
    const codes = new Int8Array((tensors[0] as NamedTensor).bytes.buffer);
    const values = dequantize(data);
    for (let i = 0; i < codes.length; i++) {
      const expected = ((codes[i] as number) * (scale[Math.floor(i / 64)] as number)) / 127;
      expect(values[i]).toBeCloseTo(expected, 7);
    }
  });
});

const blockwise = sharedData('quant', 'bitsandbytes', 'bnb_blockwise.safetensors');
describe.runIf(blockwise)('matrices quantized by bitsandbytes', () => {
  test('values of every case, also where blocks cross rows and the last is short', async () => {
    const file = await readSafetensors(join(blockwise as string));
    let count = 0;
    for (const name of file.tensors.keys()) {
      const [base, quantType, size] = name.split('|') as [string, 'nf4' | 'fp4', string];
      if (!name.endsWith('|packed') || size === 'packed') continue;
      const prefix = `${base}|${quantType}|${size}`;
      const [rows, cols] = (file.tensors.get(`${base}|x`) as StoredTensor).shape as [
        number,
        number,
      ];
      const data = {
        format: quantType,
        rows,
        cols,
        codes: file.bytes(name),
        groupSize: Number(size),
        scales: file.floats(`${prefix}|absmax`),
      };
      const back = matrixOf(encodeBitsandbytes('P', data, 'float32'));
      expect(valuesOf(back)).toEqual(file.floats(`${prefix}|dequant`));
      count++;
    }
    expect(count).toBeGreaterThan(30);
    file.close();
  });
});

const NF4: WeightData = {
  format: 'nf4',
  rows: 2,
  cols: 64,
  codes: new Uint8Array(64).fill(0x7f),
  groupSize: 64,
  scales: Float32Array.of(1, 2),
};

test('the description says what will be written, quant_state at most', () => {
  const nested = {
    codes: Uint8Array.of(1, 2),
    map: new Float32Array(256),
    absmax: Float32Array.of(1),
    blockSize: 256,
  };
  const cases: WeightData[] = [
    NF4,
    { ...NF4, scales: { ...nested, offset: -1.17549435e-38 } },
    { ...NF4, scales: { ...nested, offset: 0 } },
  ];
  for (const data of cases) {
    const doubleQuant = !(data.scales instanceof Float32Array);
    const spec = {
      rows: 2,
      cols: 64,
      quantType: 'nf4',
      groupSize: 64,
      doubleQuant,
      dtype: 'float16',
    } as const;
    const described = describeBitsandbytes('P', spec);
    const written = encodeBitsandbytes('P', data, 'float16');
    expect(written.map(({ name, dtype }) => [name, dtype])).toEqual(
      described.map(({ name, dtype }) => [name, dtype]),
    );
    written.forEach(({ shape }, i) => {
      const declared = described[i];
      if (declared?.atMost) expect(shape[0]).toBeLessThanOrEqual(declared.shape[0] as number);
      else expect(shape).toEqual(declared?.shape);
    });
  }
});

test.each([
  [0.08907227218151093, '0.08907227218151093'],
  [0, '0.0'],
  [3, '3.0'],
  [1.5e-5, '1.5e-05'],
  [0.0001, '0.0001'],
  [-2e-7, '-2e-07'],
  [1e16, '1e+16'],
])('numbers are written as Python writes them: %d', (offset, text) => {
  const state = {
    quantType: 'nf4',
    blockSize: 64,
    dtype: 'float32',
    shape: [1, 1],
    nested: { blockSize: 256, offset },
  } as const;
  expect(new TextDecoder().decode(quantStateJson(state))).toContain(`"nested_offset": ${text}}`);
});

test('weights stored as another dtype are the same bytes', () => {
  const tensors = encodeBitsandbytes('P', NF4, 'bfloat16');
  const reinterpreted = tensors.map((tensor, i) =>
    i === 0 ? ({ ...tensor, dtype: 'BF16', shape: [32, 1] } as const) : tensor,
  );
  expect(matrixOf(reinterpreted)).toEqual(matrixOf(tensors));
});

describe('refuses', () => {
  const tensors = encodeBitsandbytes('P', NF4, 'float32');
  const spoil = (name: string, bytes: Uint8Array) =>
    tensors.map((tensor) => (tensor.name.includes(name) ? { ...tensor, bytes } : tensor));
  const text = (value: string) => new TextEncoder().encode(value);

  test.each<[string, NamedTensor[], RegExp]>([
    ['too few codes', spoil('P.weight', new Uint8Array(4)), /expected|quant_state/],
    [
      'too few scales',
      spoil('absmax', toDtype(Float32Array.of(1), 'F32')),
      /absmax: expected 2 elements, got 1/,
    ],
    [
      'other code values',
      spoil('quant_map', toDtype(new Float32Array(16), 'F32')),
      /quant_map: expected -1 for code 0, got 0/,
    ],
    ['a state that is no JSON', spoil('quant_state', text('{')), /not a sound quant_state/],
    [
      'a state without a shape',
      spoil('quant_state', text('{"quant_type":"nf4","blocksize":64,"shape":[2]}')),
      /shape/,
    ],
    ['a huge state', spoil('quant_state', new Uint8Array(1e6)), /at most 4096/],
    ['another type', spoil('quant_state', text('{"quant_type":"nf5"}')), /nf4 or fp4, got nf5/],
  ])('%s', (_, broken, message) => {
    expect(() => matrixOf(broken)).toThrow(message);
  });

  test('a format it does not hold', () => {
    expect(() => encodeBitsandbytes('P', { ...NF4, format: 'int4' }, 'float32')).toThrow(
      /nf4 or fp4, got int4/,
    );
  });

  test.each<[object, RegExp]>([
    [
      { quantization_config: { quant_method: 'gptq' } },
      /expected quant_method bitsandbytes or compressed-tensors, got gptq/,
    ],
    [{ quantization_config: 'x' }, /to be an object/],
    [{ quantization: { bits: 4, group_size: 64 } }, /got none/],
    [config({ new_option: 1 }), /got new_option/],
  ])('a config %o', (hf, message) => {
    expect(() => layoutOf(hf as never, 'config.json')).toThrow(message);
  });
});

test('the config is one that the layout reads', () => {
  const quantization_config = bitsandbytesConfig({
    quantType: 'nf4',
    doubleQuant: true,
    dtype: 'bfloat16',
    skipModules: ['lm_head'],
  });
  expect(layoutOf({ quantization_config }, 'config.json')?.method).toBe('bitsandbytes');
  expect(quantization_config).toMatchObject({
    quant_method: 'bitsandbytes',
    load_in_4bit: true,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: true,
    bnb_4bit_compute_dtype: 'bfloat16',
    llm_int8_skip_modules: ['lm_head'],
  });
  expect(layoutOf({}, 'config.json')).toBeUndefined();
  expect(layoutOf({ quantization_config: { load_in_8bit: true } }, 'config.json')?.method).toBe(
    'bitsandbytes',
  );
});
