import * as z from 'zod';
import { sizeInBytes, sizeSchema } from '../../workflows/byte-size.js';
import type { MergeResult } from '../../workflows/merge.js';
import { defineCommand, type Io } from '../command.js';
import { showDownloads } from '../downloads.js';
import { megabytes } from '../sizes.js';

const shape = {
  model: z.string(),
  adapter: z.string(),
  output: z.string().optional(),
  dtype: z.enum(['f32', 'bf16', 'f16']).optional(),
  onto: z.enum(['trained', 'original']).default('trained'),
  original: z.string().optional(),
  max_shard_size: sizeSchema.default('5GB'),
  force: z.boolean().default(false),
  dry_run: z.boolean().default(false),
};

/** `llmkit merge`: writes base + adapter as one checkpoint. */
export const merge = defineCommand({
  name: 'merge',
  summary: 'Fold an adapter into its base model, and verify the result',
  description:
    'Writes W + scale · B A for every adapted layer. The result appears only if its log-probabilities\n' +
    'of 256 probe tokens are those of base + adapter. An adapter trained on a quantized base is merged\n' +
    'onto the dequantized weights it was trained on; MODEL may be the quantized or the 16-bit ones.',
  arguments: [{ key: 'model', name: 'MODEL', description: 'folder or hub id', kind: 'model' }],
  shape,
  flags: {
    adapter: { value: 'DIR', description: 'the PEFT adapter' },
    output: { short: 'o', value: 'DIR', description: 'left out: ./<name>-merged' },
    dtype: { value: 'TYPE', description: 'of the written weights; left out: as in the base' },
    onto: {
      value: 'BASE',
      description: 'of a quantized base: the weights as trained, or the original 16-bit ones',
    },
    original: { value: 'DIR', description: 'the 16-bit weights, when MODEL is the quantized ones' },
    max_shard_size: { value: 'SIZE', description: 'largest file of weights' },
    force: { description: 'replace an existing output' },
    dry_run: { description: 'check that the adapter fits and print the plan; write nothing' },
  },
  examples: [
    {
      command: 'llmkit merge ./model --adapter ./adapter -o merged --dtype bf16',
      does: 'one checkpoint in bf16',
    },
    {
      command: 'llmkit merge ./model-nf4 --adapter ./adapter -o merged --onto original',
      does: 'a QLoRA adapter onto the weights before quantization',
    },
  ],
  check({ onto, original, compute }, problem) {
    if (compute !== 'f32' && compute !== 'auto') {
      problem('compute', `${compute} would hide what the merge is checked for; use f32 or auto`);
    }
    if (original !== undefined && onto !== 'original') problem('original', 'needs --onto original');
  },
  async run(config, io) {
    const { mergeAdapter } = await import('../../workflows/merge.js');
    const { model, adapter, output, dtype, onto, original, force, backend, device, threads } =
      config;
    let bar: ReturnType<Io['progress']> | undefined;
    try {
      const result = await mergeAdapter({
        ...{ model, adapter, output, dtype, onto, original, force, backend, device, threads },
        dryRun: config.dry_run,
        maxShardBytes: sizeInBytes(config.max_shard_size),
        onProgress(done, total, tensor) {
          bar ??= io.progress('merging', Math.ceil(total / 1e6), 'MB');
          bar.update(Math.ceil(done / 1e6), tensor);
        },
        onDownload: showDownloads(io),
        onNote: (text) => io.note(`merge: ${text}`),
        onWarning: (text) => io.warn(text),
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

function report(result: MergeResult): string {
  const { verification, kl_trained_to_merged: kl, dry_run: plan } = result;
  const lines = [
    `${plan ? 'would write' : 'wrote'} ${result.output}`,
    `${result.merged_modules} layers merged onto the ${result.onto} weights` +
      (result.replaced_tensors > 0 ? `, ${result.replaced_tensors} tensors replaced` : ''),
    `${megabytes(result.bytes_before)} before, ${megabytes(result.bytes_after)} after`,
  ];
  if (plan) lines.push(`memory at most ${megabytes(plan.memory_peak_bytes)}`);
  if (verification) {
    const { probe_tokens: tokens, max_difference: difference } = verification;
    lines.push(
      `verified: ${tokens} log-probabilities within ${difference.toExponential(1)} of base + adapter ` +
        `(allowed ${verification.allowed_difference.toExponential(1)})`,
    );
    const rounding = verification.rounding_difference;
    if (rounding !== undefined) {
      lines.push(`rounding to 16 bits alone moves them by ${rounding.toExponential(1)}`);
    }
  }
  if (kl !== undefined) {
    lines.push(`KL of the merged model from the one that was trained: ${kl.toFixed(6)} per token`);
  }
  return `${lines.join('\n')}\n`;
}
