import { LlmkitError } from '../../errors.js';

type Options = Readonly<Record<string, unknown>>;

/** What an option may be: any value, or one of a list (undefined is always allowed: not every writer writes all). */
type Rule = 'any' | readonly unknown[];

const TOP: Readonly<Record<string, Rule>> = {
  quant_method: 'any',
  version: 'any',
  config_groups: 'any',
  ignore: 'any',
  global_compression_ratio: 'any',
  run_compressed: 'any',
  format: ['pack-quantized', 'int-quantized'],
  quantization_status: ['compressed', 'frozen'],
  kv_cache_scheme: [null],
  sparsity_config: 'any', // checked by its format
};

/** Of weights that are not sparse: older files say so. */
const SPARSITY: Readonly<Record<string, Rule>> = {
  format: ['dense'],
  global_sparsity: 'any',
  ignore: 'any',
  registry_requires_subclass: 'any',
  sparsity_structure: 'any',
  targets: 'any',
};

/** input_activations: W8A8 files quantize activations for speed; here activations stay in float32. */
const GROUP: Readonly<Record<string, Rule>> = {
  targets: 'any',
  weights: 'any',
  input_activations: 'any',
  output_activations: [null],
  format: ['pack-quantized', 'int-quantized', null],
};

const WEIGHTS: Readonly<Record<string, Rule>> = {
  num_bits: [4, 8],
  type: ['int'],
  symmetric: [true, false],
  strategy: ['group', 'channel', 'tensor'],
  group_size: 'any',
  dynamic: [false],
  actorder: [null, false, 'weight', 'static'],
  block_structure: [null],
  observer: 'any',
  observer_kwargs: 'any',
  scale_dtype: 'any',
  zp_dtype: 'any',
};

/**
 * Refuses a compressed-tensors quantization_config with something that cannot be honoured.
 *
 * @throws LlmkitError `unsupported` naming the option and what is supported
 */
export function checkOptions(options: Options, where: string): void {
  check(options, TOP, where);
  check(objectOf(options.sparsity_config), SPARSITY, `${where}.sparsity_config`);
  for (const [name, config] of Object.entries(objectOf(options.config_groups))) {
    const group = objectOf(config);
    check(group, GROUP, `${where}.config_groups.${name}`);
    check(objectOf(group.weights), WEIGHTS, `${where}.config_groups.${name}.weights`);
  }
}

function objectOf(value: unknown): Options {
  return typeof value === 'object' && value !== null ? (value as Options) : {};
}

/** Empty objects and lists count as null: writers differ. */
function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

function check(options: Options, rules: Readonly<Record<string, Rule>>, where: string): void {
  for (const [key, value] of Object.entries(options)) {
    const rule = rules[key] ?? [null];
    const isAllowed = rule === 'any' || rule.includes(isEmpty(value) ? null : value);
    if (isAllowed) continue;
    const expected = rule.map((choice) => JSON.stringify(choice)).join(' or ');
    throw new LlmkitError(
      'unsupported',
      `${where}: expected ${key} to be ${expected}, got ${JSON.stringify(value)}`,
    );
  }
}
