import { describe, expect, test } from 'vitest';
import { toDtype } from '../../../../src/checkpoint/dtype.js';
import {
  compressedTensorsConfig,
  describeCompressedTensors,
  encodeCompressedTensors,
} from '../../../../src/checkpoint/formats/compressed-tensors.js';
import { layoutOf } from '../../../../src/checkpoint/formats/index.js';
import type { NamedTensor } from '../../../../src/checkpoint/writer.js';
import { dequantize, type WeightData } from '../../../../src/tensor/weight.js';
import { goldenFormats, goldenTensor, sourceOf } from './golden.js';

const config = {
  bits: 4,
  headBits: 4,
  symmetric: true,
  groupSize: 32,
  ignore: ['lm_head'],
} as const;
const layout = layoutOf({ quantization_config: compressedTensorsConfig(config) }, 'config.json');
const matrixOf = (tensors: readonly NamedTensor[]): WeightData => {
  const source = sourceOf(tensors);
  expect(layout?.modules(source.tensors.keys())).toEqual(['P']);
  return layout?.matrix('P', source) as WeightData;
};

const golden = goldenFormats();
describe.runIf(golden)('golden bytes of compressed-tensors', () => {
  test.each(['ct_w4_g32_sym', 'ct_w4_g32_asym'])(
    '%s: read to the same values, written to the same bytes',
    (name) => {
      const { dequant, q_int8, ...stored } = golden?.[name] ?? {};
      const tensors = Object.entries(stored).map(([key, tensor]) =>
        goldenTensor(`P.${key}`, tensor),
      );
      const data = matrixOf(tensors);
      expect(data).toMatchObject({ format: 'int4', rows: 8, cols: 64, groupSize: 32 });
      expect(data.codes).toBe(tensors[0]?.bytes); // not copied
      expect(toDtype(dequantize(data), 'F32')).toEqual(goldenTensor('d', dequant as never).bytes);
      const plain = dequantize({
        format: 'int4',
        rows: 8,
        cols: 64,
        codes: data.codes,
        groupSize: 64,
        scales: new Float32Array(8).fill(1),
      });
      expect(Int8Array.from(plain)).toEqual(
        new Int8Array(goldenTensor('q', q_int8 as never).bytes.buffer),
      );
      expect(encodeCompressedTensors('P', data, 'F32')).toEqual(tensors);
    },
  );
});

/** Random codes, scales and zero points of a matrix. */
function randomWeight(options: {
  format: 'int4' | 'int8';
  rows: number;
  cols: number;
  groupSize: number;
  zeros: boolean;
}): WeightData {
  const { format, rows, cols, groupSize, zeros } = options;
  let state = rows * cols;
  const random = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const bits = format === 'int4' ? 4 : 8;
  const codes = Uint8Array.from({ length: Math.ceil((rows * cols * bits) / 8) }, () => random(256));
  if (bits === 4 && (rows * cols) % 2 === 1) codes[codes.length - 1] = 7;
  const groups = (rows * cols) / groupSize;
  const scales = Float32Array.from({ length: groups }, () => (random(100) + 1) / 128);
  const points = Uint8Array.from({ length: groups }, () => random(2 ** bits));
  return { format, rows, cols, codes, groupSize, scales, ...(zeros && { zeros: points }) };
}

describe('what is written is read back', () => {
  test.each([
    { format: 'int4', rows: 8, cols: 64, groupSize: 32 },
    { format: 'int4', rows: 5, cols: 12, groupSize: 4 },
    { format: 'int4', rows: 3, cols: 7, groupSize: 7 },
    { format: 'int8', rows: 4, cols: 16, groupSize: 16 },
    { format: 'int8', rows: 3, cols: 6, groupSize: 3 },
  ] as const)('$format [$rows, $cols] in groups of $groupSize', (shape) => {
    for (const zeros of [false, true]) {
      const data = randomWeight({ ...shape, zeros });
      for (const scaleDtype of ['F32', 'BF16', 'F16'] as const) {
        const tensors = encodeCompressedTensors('P', data, scaleDtype);
        expect(matrixOf(tensors)).toEqual(data);
        const bits = shape.format === 'int4' ? 4 : 8;
        const spec = { ...shape, bits, symmetric: !zeros, scaleDtype } as const;
        const described = describeCompressedTensors('P', spec);
        expect(tensors.map(({ bytes: _, ...rest }) => rest)).toEqual(described);
      }
    }
  });
});

/** A row-major I8 matrix [2, 3], as int-quantized files hold it. */
const plain = (scales: number[], zeroPoint?: number[]): NamedTensor[] => [
  {
    name: 'P.weight',
    dtype: 'I8',
    shape: [2, 3],
    bytes: new Uint8Array(Int8Array.of(-128, 0, 127, 1, 2, 3).buffer),
  },
  {
    name: 'P.weight_scale',
    dtype: 'BF16',
    shape: [scales.length, 1],
    bytes: toDtype(Float32Array.from(scales), 'BF16'),
  },
  ...(zeroPoint
    ? [
        {
          name: 'P.weight_zero_point',
          dtype: 'I8',
          shape: [2, 1],
          bytes: new Uint8Array(Int8Array.from(zeroPoint).buffer),
        } as const,
      ]
    : []),
];

test.each<[string, NamedTensor[], number[]]>([
  ['one scale per row', plain([0.5, 2]), [-64, 0, 63.5, 2, 4, 6]],
  ['one scale', plain([0.5]), [-64, 0, 63.5, 0.5, 1, 1.5]],
  ['zero points', plain([0.5, 2], [-28, 1]), [-50, 14, 77.5, 0, 2, 4]],
])('int-quantized: %s', (_, tensors, expected) => {
  expect([...dequantize(matrixOf(tensors))]).toEqual(expected);
});

test('a head of other bits is a group of its own, by its name', () => {
  const { config_groups } = compressedTensorsConfig({ ...config, headBits: 8, ignore: [] });
  expect(config_groups).toMatchObject({
    group_0: { targets: ['Linear'], weights: { num_bits: 4, group_size: 32 } },
    group_1: { targets: ['lm_head'], weights: { num_bits: 8, group_size: 32 } },
  });
  expect(Object.keys(compressedTensorsConfig(config).config_groups as object)).toHaveLength(1);
});

test('what older files and other writers say besides is read', () => {
  const quantization_config = {
    ...compressedTensorsConfig(config),
    sparsity_config: { format: 'dense', global_sparsity: 0.1, ignore: [], targets: [] },
    transform_config: {},
    global_compression_ratio: null,
    version: '0.12.2',
  };
  expect(layoutOf({ quantization_config }, 'config.json')?.method).toBe('compressed-tensors');
});

describe('refuses', () => {
  const data = randomWeight({ format: 'int4', rows: 4, cols: 64, groupSize: 32, zeros: true });
  const tensors = encodeCompressedTensors('P', data, 'F32');
  const spoil = (name: string, change: Partial<NamedTensor>) =>
    tensors.map((tensor) => (tensor.name === `P.${name}` ? { ...tensor, ...change } : tensor));

  test.each<[string, NamedTensor[], RegExp]>([
    [
      'a packed width that fits no bits',
      spoil('weight_packed', { shape: [4, 7] }),
      /expected \[4, 8\] \(4 bits\) or \[4, 16\] \(8 bits\), got \[4,7\]/,
    ],
    [
      'scales that do not divide a row',
      spoil('weight_scale', { bytes: new Uint8Array(40) }),
      /whole groups/,
    ],
    [
      'zero points of another size',
      spoil('weight_zero_point', { bytes: new Uint8Array(16) }),
      /expected 2 elements, got 4/,
    ],
    [
      'columns in another order',
      [
        ...tensors,
        { name: 'P.weight_g_idx', dtype: 'I32', shape: [64], bytes: new Uint8Array(256) },
      ],
      /weight_g_idx/,
    ],
  ])('%s', (_, broken, message) => {
    expect(() => matrixOf(broken)).toThrow(message);
  });

  test.each<
    [string, (c: Record<string, unknown>, weights: Record<string, unknown>) => void, RegExp]
  >([
    [
      'format',
      (c) => (c.format = 'nvfp4-pack-quantized'),
      /format to be "pack-quantized" or "int-quantized", got "nvfp4/,
    ],
    ['kv cache', (c) => (c.kv_cache_scheme = { num_bits: 8 }), /kv_cache_scheme to be null/],
    ['status', (c) => (c.quantization_status = 'calibration'), /quantization_status/],
    ['bits', (_, w) => (w.num_bits = 3), /num_bits to be 4 or 8, got 3/],
    ['type', (_, w) => (w.type = 'float'), /type to be "int", got "float"/],
    ['strategy', (_, w) => (w.strategy = 'block'), /strategy/],
    ['order', (_, w) => (w.actorder = 'group'), /actorder/],
    ['dynamic', (_, w) => (w.dynamic = true), /dynamic to be false/],
    [
      'sparse weights',
      (c) => (c.sparsity_config = { format: 'sparse-24' }),
      /sparsity_config: expected format to be "dense"/,
    ],
    ['an unknown option', (_, w) => (w.new_option = 1), /expected new_option to be null, got 1/],
  ])('an option: %s', (_, change, message) => {
    const quantization_config = structuredClone(compressedTensorsConfig(config)) as {
      config_groups: { group_0: { weights: Record<string, unknown> } };
    };
    change(quantization_config as never, quantization_config.config_groups.group_0.weights);
    expect(() => layoutOf({ quantization_config }, 'config.json')).toThrow(message);
  });

  test('a format it does not hold, and groups that do not divide a row', () => {
    expect(() => encodeCompressedTensors('P', { ...data, format: 'nf4' }, 'F32')).toThrow(
      /int4 or int8, got nf4/,
    );
    const spec = {
      rows: 2,
      cols: 172,
      bits: 4,
      groupSize: 64,
      symmetric: true,
      scaleDtype: 'F32',
    } as const;
    expect(() => describeCompressedTensors('P', spec)).toThrow(/divides 172, got 64/);
  });
});
