import { resolve } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint.js';
import {
  type BaseModel,
  type Manifest,
  type QuantizationRecord,
  quantizationOf,
  readManifest,
} from './manifest.js';
import { schemeOf } from './training/base.js';

/** An adapter and the checkpoint that it is put on. */
export interface AdapterPlace {
  /** A PEFT folder. */
  readonly adapter: string;
  /** As the user named the checkpoint. */
  readonly model: string;
  readonly checkpoint: Checkpoint;
}

/**
 * Compares a checkpoint with what an adapter records of its base, from records and headers alone:
 * no weight is hashed.
 *
 * @returns what is another than in training, and the fix; undefined where nothing tells
 */
export async function anotherBaseThanTrained(place: AdapterPlace): Promise<string | undefined> {
  const trained = await readManifest(place.adapter);
  const record = trained?.base_model;
  if (trained === undefined || record === undefined) return undefined;
  const own = await readManifest(place.checkpoint.folder);
  const difference = isQuantized(place)
    ? quantizedDifference(place, record, own)
    : denseDifference(place, { ...trained, base_model: record }, own);
  return difference && `${place.adapter}: the adapter was trained on ${difference}`;
}

function isQuantized({ checkpoint }: AdapterPlace): boolean {
  return checkpoint.quantized.size > 0;
}

function denseDifference(
  { model }: AdapterPlace,
  { base_model, config }: Manifest & { readonly base_model: BaseModel },
  own: Manifest | undefined,
): string | undefined {
  const { name, identity, quantized } = base_model;
  if (own?.base_model?.identity === identity) {
    return `${name}, and ${model} was made from it by ${own.command}; give ${name} as MODEL`;
  }
  if (quantized === undefined) return undefined;
  const { scheme, settings } = quantized;
  const onLoad = config.quantization as Partial<QuantizationRecord> | undefined;
  // Quantized on load, the name is that of the 16-bit weights.
  const fix = settings
    ? name
    : `what \`llmkit quantize ${name} ${flagsOf({ scheme, ...onLoad })}\` writes`;
  return `${name} in ${scheme}, and ${model} is not quantized; give ${fix} as MODEL`;
}

/** The flags of `llmkit quantize` that do the same. */
function flagsOf(record: QuantizationRecord): string {
  const { scheme, group_size: size, double_quant: nested, asymmetric, method, skip, head } = record;
  const flags = [
    `--scheme ${scheme}`,
    size ? `--group-size ${size}` : '',
    nested ? '--double-quant' : '',
    asymmetric ? '--asymmetric' : '',
    method === 'search' ? '--search' : '',
    skip && skip.join() !== 'lm_head' ? `--skip ${skip.join()}` : '',
    head ? `--head ${head}` : '',
  ];
  return flags.filter(Boolean).join(' ');
}

function quantizedDifference(
  { model, checkpoint }: AdapterPlace,
  { name, identity, quantized }: BaseModel,
  own: Manifest | undefined,
): string | undefined {
  const scheme = schemeOf(checkpoint);
  const settings = own && quantizationOf(own);
  if (quantized === undefined) {
    // Of weights that another program quantized no original is recorded.
    if (settings === undefined && resolve(name) === resolve(model)) return undefined;
    return `${name}, which is not quantized, and ${model} is in ${scheme}; give ${name} as MODEL`;
  }
  if (quantized.scheme !== scheme) {
    return `${name} in ${quantized.scheme}, and ${model} is in ${scheme}; quantize with --scheme ${quantized.scheme}`;
  }
  if (settings && own.base_model && own.base_model.identity !== identity) {
    return `${name}, and ${model} was quantized from another model, ${own.base_model.name}; give ${name} as MODEL`;
  }
  if (!settings || !quantized.settings) return undefined;
  const [trained, given] = differingSettings(quantized.settings, settings);
  if (trained === given) return undefined;
  return `${name} quantized with ${trained}, and ${model} with ${given}; give ${name} as MODEL`;
}

/** The settings that two records do not share, in words. */
function differingSettings(
  trained: QuantizationRecord,
  given: QuantizationRecord,
): readonly [string, string] {
  // Of what a record does not name nothing is known, but a head or a method that was chosen is always named.
  const named = [...Object.keys(trained), 'head', 'method'];
  const keys = [...new Set(named)] as (keyof QuantizationRecord)[];
  const text = (record: QuantizationRecord, key: keyof QuantizationRecord) =>
    String({ method: 'rtn', ...record }[key] ?? 'none');
  const different = keys.filter((key) => text(trained, key) !== text(given, key));
  const inWords = (record: QuantizationRecord) =>
    different.map((key) => `${key} ${text(record, key)}`).join(', ');
  return [inWords(trained), inWords(given)];
}
