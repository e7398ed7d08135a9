import * as z from 'zod';
import { schemes } from '../../quant/schemes/index.js';
import { sizeInBytes, sizeSchema } from '../../workflows/byte-size.js';
import type { QuantizeResult } from '../../workflows/quantize.js';
import { type ConfigOf, defineCommand, type Io } from '../command.js';
import { showDownloads } from '../downloads.js';
import { megabytes } from '../sizes.js';

/** The scheme that `--bits` alone means. */
const SCHEME_OF_BITS = { 4: 'nf4', 8: 'int8' } as const;

const shape = {
  model: z.string(),
  output: z.string().optional(),
  bits: z
    .literal([4, 8], { error: ({ input }) => `expected 4 or 8, got ${String(input)}` })
    .optional(),
  scheme: z.enum(Object.keys(schemes)).optional(),
  group_size: z.int().min(1).optional(),
  double_quant: z.boolean().default(false),
  asymmetric: z.boolean().default(false),
  search: z.boolean().default(false),
  skip: z.array(z.string()).default(['lm_head']),
  head: z.enum(Object.keys(schemes)).optional(),
  calib: z.string().optional(),
  max_shard_size: sizeSchema.default('5GB'),
  force: z.boolean().default(false),
  dry_run: z.boolean().default(false),
};

type QuantizeConfig = ConfigOf<typeof shape>;

/** `llmkit quantize`: writes a 4- or 8-bit copy of a checkpoint. */
export const quantize = defineCommand({
  name: 'quantize',
  summary: 'Write a 4- or 8-bit copy of a model',
  description:
    'Rounds every linear layer to the nearest code, tensor by tensor. nf4 and fp4 are written in\n' +
    'bitsandbytes’ layout, int4 and int8 in compressed-tensors’; embeddings, norms and, without\n' +
    '--head, the head stay.\n' +
    'Without --group-size: nf4 and fp4 in blocks of 64, int8 one scale per row, int4 in groups of\n' +
    '128, else of 64 or 32.',
  arguments: [{ key: 'model', name: 'MODEL', description: 'folder or hub id', kind: 'model' }],
  shape,
  flags: {
    output: { short: 'o', value: 'DIR', description: 'left out: ./<name>-<scheme>' },
    bits: { value: 'N', description: '4 (left out) or 8; alone: nf4 or int8' },
    scheme: { value: 'NAME', description: 'how weights are stored' },
    group_size: { value: 'N', description: 'weights that share one scale' },
    double_quant: { description: 'nf4, fp4: store the scales in 8 bits too' },
    asymmetric: { description: 'int4, int8: one zero point per group' },
    search: {
      description: 'choose each scale for the least error: the same files, closer weights',
    },
    skip: { value: 'NAMES', description: 'layers left as they are: names, endings or globs' },
    head: {
      value: 'NAME',
      description: 'scheme of the output head, which is untied where it is tied',
    },
    calib: { value: 'FILE', description: 'measure the perplexity of this text before and after' },
    max_shard_size: { value: 'SIZE', description: 'largest file of weights' },
    force: { description: 'replace an existing output' },
    dry_run: { description: 'print the plan from headers alone; write nothing' },
  },
  examples: [
    { command: 'llmkit quantize ./model --bits 4', does: 'nf4 in ./model-nf4' },
    {
      command: 'llmkit quantize org/name -o out --bits 4 --scheme int4 --group-size 128',
      does: 'integers that vLLM reads, from the hub',
    },
    {
      command: 'llmkit quantize ./model --bits 4 --scheme int4 --head int8',
      does: 'the head in 8 bits, also one that is the embedding',
    },
    {
      command: 'llmkit quantize ./model --bits 4 --search',
      does: 'nf4 nearer to the original, in the same files',
    },
    {
      command: 'llmkit quantize ./model --bits 8 --calib text.txt',
      does: 'int8, and the perplexity before and after',
    },
    {
      command: 'llmkit quantize ./model --bits 4 --double-quant --dry-run',
      does: 'the plan alone',
    },
  ],
  check({ bits, scheme }, problem) {
    const has = scheme === undefined ? undefined : schemes[scheme]?.bits;
    if (bits !== undefined && has !== undefined && has !== bits) {
      problem('scheme', `${scheme} has ${has} bits, which does not agree with --bits ${bits}`);
    }
  },
  async run(config, io) {
    const { quantizeModel } = await import('../../workflows/quantize.js');
    let bar: ReturnType<Io['progress']> | undefined;
    try {
      const result = await quantizeModel({
        ...optionsOf(config),
        onProgress: (done, total, tensor) => {
          bar ??= io.progress('quantizing', Math.ceil(total / 1e6), 'MB');
          bar.update(Math.ceil(done / 1e6), tensor);
        },
        onNote: (text) => io.note(`quantize: ${text}`),
        onWarning: (text) => io.warn(text),
        onDownload: showDownloads(io),
      });
      bar?.end();
      if (io.json) io.printJson(result);
      else io.stdout(report(result));
    } finally {
      bar?.end();
    }
    return 0;
  },
});

function optionsOf(config: QuantizeConfig) {
  const { model, output, skip, calib, force, backend, device, threads, compute } = config;
  return {
    model,
    output,
    scheme: config.scheme ?? SCHEME_OF_BITS[config.bits ?? 4],
    groupSize: config.group_size,
    doubleQuant: config.double_quant,
    asymmetric: config.asymmetric,
    method: config.search ? ('search' as const) : ('rtn' as const),
    skip: skip.filter((name) => name !== ''),
    head: config.head,
    maxShardBytes: sizeInBytes(config.max_shard_size),
    force,
    dryRun: config.dry_run,
    calib,
    backend,
    device,
    threads,
    compute,
  };
}

function report(result: QuantizeResult): string {
  const { tensors, perplexity, dry_run: plan } = result;
  const errors = tensors.flatMap(({ relative_error: error }) =>
    error === undefined ? [] : [error],
  );
  const lines = [
    `${plan ? 'would write' : 'wrote'} ${result.output}`,
    `${layersByScheme(tensors)}, ${result.bits_per_weight.toFixed(2)} bits per weight` +
      (result.skipped.length > 0 ? `; left as they are: ${result.skipped.join(', ')}` : ''),
    `${megabytes(result.bytes_before)} before, ${megabytes(result.bytes_after)} after`,
  ];
  if (plan) {
    lines.push(
      `about ${plan.estimated_seconds.toFixed(1)} s, memory at most ${megabytes(plan.memory_peak_bytes)}`,
    );
  }
  if (errors.length > 0) {
    const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
    const largest = Math.max(...errors);
    const worst = tensors.find(({ relative_error: error }) => error === largest);
    lines.push(
      `relative error ${mean.toFixed(4)} on average, at most ${largest.toFixed(4)} (${worst?.name})`,
    );
  }
  if (perplexity) {
    lines.push(
      `perplexity ${perplexity.before.toFixed(4)} before, ${perplexity.after.toFixed(4)} after`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** `168 layers to int4, 1 to int8`. */
function layersByScheme(tensors: QuantizeResult['tensors']): string {
  const counts = new Map<string, number>();
  for (const { scheme } of tensors) counts.set(scheme, (counts.get(scheme) ?? 0) + 1);
  const parts = [...counts].map(([scheme, count]) => `${count} to ${scheme}`);
  return parts.join(', ').replace(' to', ' layers to');
}
