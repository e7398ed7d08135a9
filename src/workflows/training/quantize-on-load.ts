import type { Checkpoint } from '../../checkpoint/checkpoint.js';
import { type HashedTensor, hashBytes, identityOfTensors } from '../../checkpoint/identity.js';
import { LlmkitError } from '../../errors.js';
import { storedNames } from '../../model/layout.js';
import type { LoadOptions } from '../../model/load.js';
import { layouts } from '../../quant/layouts.js';
import { type OptionNames, planQuantization, type QuantPlan } from '../../quant/plan.js';
import { quantizerInUse } from '../../quant/quantizer.js';
import { schemes } from '../../quant/schemes/index.js';
import type { QuantScheme } from '../../quant/schemes/scheme.js';
import type { QuantizationRecord } from '../manifest.js';

/** Quantizes a model while it is loaded, to the same codes as `llmkit quantize` writes. */
export interface QuantizeOnLoad {
  readonly plan: QuantPlan;
  readonly quantize: NonNullable<LoadOptions['quantize']>;
  /** The identity of the checkpoint that `llmkit quantize` would write; after loading. */
  identity(base: readonly HashedTensor[]): string;
}

/** What a training config or an adapter's record says of quantization on load. */
interface QuantizationWish {
  readonly load_in_4bit: boolean;
  readonly quantization?: QuantizationRecord | undefined;
}

/** The keys of a training config. */
const NAMES: OptionNames = {
  scheme: 'quantization.scheme',
  groupSize: 'quantization.group_size',
  doubleQuant: 'quantization.double_quant',
  asymmetric: 'quantization.asymmetric',
  skip: 'quantization.skip',
};

/** What stays as it is unless the wish says otherwise; the same as of `llmkit quantize`. */
const DEFAULT_SKIP = ['lm_head'];

/** `load_in_4bit`; undefined where it is not set or the checkpoint is quantized already. */
export function quantizeOnLoad(
  { load_in_4bit, quantization }: QuantizationWish,
  checkpoint: Checkpoint,
): QuantizeOnLoad | undefined {
  if (!load_in_4bit || checkpoint.quantized.size > 0) return undefined;
  const wish = quantization ?? { scheme: 'nf4' };
  const { scheme: name, group_size, double_quant = false, asymmetric = false, method } = wish;
  const scheme = schemeNamed(name);
  const plan = planQuantization(checkpoint.config, checkpoint.tensors, {
    scheme,
    groupSize: group_size ?? undefined,
    doubleQuant: double_quant,
    asymmetric,
    method,
    skip: wish.skip ?? DEFAULT_SKIP,
    head: wish.head ? schemeNamed(wish.head) : undefined,
    names: NAMES,
  });
  if (plan.untied) throw tiedHead(checkpoint);
  const stored = storedNames(checkpoint.config, checkpoint.tensors);
  const encoded = new Map<string, HashedTensor[]>();
  return {
    plan,
    async quantize(module, read) {
      const weight = stored.get(`${module}.weight`) ?? `${module}.weight`;
      const planned = plan.matrices.get(weight.slice(0, -'.weight'.length));
      if (!planned) return undefined;
      const { scheme, groupSize, dtype } = planned;
      const { data } = await quantizerInUse()(
        { name: weight, values: read() },
        {
          ...{ scheme, groupSize, dtype, doubleQuant: double_quant, asymmetric },
          method: plan.method,
        },
      );
      const parts = layouts[scheme.layout].encode(planned, data);
      const hash = async ({ bytes, ...tensor }: (typeof parts)[number]) => ({
        ...tensor,
        sha256: await hashBytes(bytes),
      });
      encoded.set(weight, await Promise.all(parts.map(hash)));
      return data;
    },
    identity: (base) =>
      identityOfTensors(base.flatMap((tensor) => encoded.get(tensor.name) ?? [tensor])),
  };
}

function schemeNamed(name: string): QuantScheme {
  const scheme = schemes[name];
  if (scheme) return scheme;
  throw new LlmkitError('unsupported', `quantization.scheme: ${name}`);
}

function tiedHead({ folder }: Checkpoint): LlmkitError {
  return new LlmkitError(
    'unsupported',
    `${folder}: ties its head to the embedding, and the adapter was trained on weights with a head of ` +
      'their own (quantize --head); give that quantized checkpoint itself as MODEL',
  );
}
