import { describe, expect, test } from 'vitest';
import type { LoraConfig } from '../../../../src/tune/peft/index.js';
import { loraScale } from '../../../../src/tune/peft/lora-config.js';
import { peftTargets, targetModules } from '../../../../src/tune/peft/targets.js';

const LAYERS = [0, 1, 10].flatMap((i) =>
  ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.up_proj'].map(
    (name) => `model.layers.${i}.${name}`,
  ),
);
const MODULES = [...LAYERS, 'lm_head'];
const CONFIG: LoraConfig = {
  r: 8,
  alpha: 16,
  dropout: 0,
  targetModules: 'all-linear',
  bias: 'none',
  useRslora: false,
};
const targets = (changes: Partial<LoraConfig>) => targetModules({ ...CONFIG, ...changes }, MODULES);

describe('targets', () => {
  test('all-linear leaves out the head', () => {
    expect(targets({})).toEqual(LAYERS);
  });

  test('a name matches whole paths and their endings after a dot', () => {
    expect(targets({ targetModules: ['q_proj'] })).toHaveLength(3);
    expect(targets({ targetModules: ['model.layers.1.mlp.up_proj', 'lm_head'] })).toEqual([
      'model.layers.1.mlp.up_proj',
      'lm_head',
    ]);
    expect(() => targets({ targetModules: ['proj'] })).toThrow(/q_proj, up_proj, v_proj/);
  });

  test('a string is a regular expression for the whole path', () => {
    expect(targets({ targetModules: '.*\\.(q|v)_proj' })).toHaveLength(6);
    expect(() => targets({ targetModules: 'q_proj' })).toThrow(/matches no linear layer/);
    expect(() => targets({ targetModules: '(' })).toThrow(/not a regular expression/);
  });

  test('a glob takes any characters, dots too', () => {
    expect(targets({ targetModules: ['layers.1.*'] })).toEqual(LAYERS.slice(3, 6));
    expect(targets({ targetModules: ['self_attn.?_proj'] })).toHaveLength(6);
  });

  test('exclusions and layers narrow the choice', () => {
    expect(targets({ excludeModules: ['q_proj', 'layers.1.mlp.up_proj'] })).toHaveLength(5);
    const layers = { targetModules: ['q_proj'], layersToTransform: [1, 10] };
    expect(targets(layers)).toEqual([LAYERS[3], LAYERS[6]]);
    expect(targets({ ...layers, layersPattern: ['layers'] })).toHaveLength(2);
    expect(() => targets({ ...layers, layersPattern: ['h'] })).toThrow(/nothing is left/);
  });

  test('are written for PEFT as endings where these name the same modules', () => {
    expect(peftTargets(LAYERS, MODULES)).toEqual(['q_proj', 'up_proj', 'v_proj']);
    expect(peftTargets(LAYERS.slice(0, 1), MODULES)).toEqual(LAYERS.slice(0, 1));
  });
});

describe('scale', () => {
  test('is alpha / r, with rsLoRA alpha / √r', () => {
    expect(loraScale(CONFIG, 'm')).toEqual({ r: 8, scale: 2 });
    expect(loraScale({ ...CONFIG, r: 4, useRslora: true }, 'm')).toEqual({ r: 4, scale: 8 });
  });

  test('patterns match the end of the path; the first counts', () => {
    const config = {
      ...CONFIG,
      rankPattern: { 'layers\\.1\\.self_attn\\.q_proj': 2, q_proj: 4 },
      alphaPattern: { up_proj: 12 },
    };
    expect(loraScale(config, 'model.layers.1.self_attn.q_proj')).toEqual({ r: 2, scale: 8 });
    expect(loraScale(config, 'model.layers.10.self_attn.q_proj')).toEqual({ r: 4, scale: 4 });
    expect(loraScale(config, 'model.layers.0.mlp.up_proj')).toEqual({ r: 8, scale: 1.5 });
  });
});
