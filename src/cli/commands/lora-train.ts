import { deviceMapFlags } from '../../workflows/device-map.js';
import type { TrainingResult } from '../../workflows/lora-train.js';
import { checkTraining, trainingShape } from '../../workflows/training/config.js';
import { parametersLine } from '../../workflows/training/parameters-line.js';
import type { TrainingPlan } from '../../workflows/training/plan.js';
import { defineCommand, type Io, type Progress } from '../command.js';
import { showDownloads } from '../downloads.js';

/** `llmkit lora-train`: fine-tunes a model as a config file says. */
export const loraTrain = defineCommand({
  name: 'lora-train',
  summary: 'Fine-tune with LoRA or QLoRA, or train all weights',
  description:
    'The config file names the model, the data and the output folder; every key can be set with --set as well. ' +
    'Relative paths in it are relative to the current folder. A run saves checkpoints, ends with a PEFT adapter ' +
    '(`method: full`: a checkpoint) in output_dir, and goes on from the newest checkpoint with --resume.',
  arguments: [
    { key: 'config', name: 'CONFIG', description: 'YAML file of the run', kind: 'config' },
  ],
  shape: trainingShape,
  flags: {
    output_dir: { short: 'o', value: 'DIR', description: 'where the run writes' },
    resume: { description: "go on from output_dir's newest checkpoint" },
    cache_packed: { description: 'keep packed weights beside the model, for a quicker start' },
    ...deviceMapFlags,
    force: { description: 'start anew in an output_dir that an earlier run wrote' },
    dry_run: { description: 'show two examples, lengths and sizes, and train nothing' },
  },
  examples: [
    { command: 'llmkit lora-train config.yaml', does: 'trains as the file says' },
    {
      command: 'llmkit lora-train config.yaml --set learning_rate=1e-4 --set lora.r=16',
      does: 'with two keys changed',
    },
    { command: 'llmkit lora-train config.yaml --dry-run', does: 'shows what would be trained' },
    { command: 'llmkit lora-train config.yaml --resume', does: 'goes on where it stopped' },
  ],
  check: checkTraining,
  savesWhenInterrupted: true,
  async run(config, io) {
    return config.dry_run ? dryRun(config, io) : train(config, io);
  },
});

type Config = Parameters<typeof checkTraining>[0];

async function dryRun(config: Config, io: Io): Promise<0> {
  const { planTraining } = await import('../../workflows/training/plan.js');
  const plan = await planTraining(config, { onProgress: showDownloads(io) });
  if (io.json) io.printJson(plan);
  else io.stdout(planText(plan));
  return 0;
}

async function train(config: Config, io: Io): Promise<0> {
  const { runTraining } = await import('../../workflows/lora-train.js');
  let progress: Progress | undefined;
  const result = await runTraining({
    config,
    signal: io.signal,
    events: {
      note: io.note,
      warn: io.warn,
      download: showDownloads(io),
      start(done, total) {
        progress = io.progress('training', total, 'steps');
        progress.update(done);
      },
      step: ({ step, loss, learningRate }) =>
        progress?.update(step, `loss ${loss.toFixed(4)} · lr ${learningRate.toExponential(2)}`),
      evaluation: ({ step, loss }) => io.note(`step ${step}: eval loss ${loss.toFixed(4)}`),
    },
  }).finally(() => progress?.end());
  if (io.json) io.printJson(result);
  else io.stdout(summary(result));
  return 0;
}

function summary(result: TrainingResult): string {
  const { output, end, steps, final_loss, seconds, best_eval } = result;
  const what = end === 'interrupted' ? 'interrupted; go on with --resume' : end;
  const loss = final_loss === undefined ? '' : `, loss ${final_loss.toFixed(4)}`;
  const best = best_eval ? `, best eval loss ${best_eval.loss.toFixed(4)}` : '';
  return `${output}: ${what} after ${steps} steps${loss}${best} (${seconds.toFixed(1)} s)\n`;
}

function planText(plan: TrainingPlan): string {
  const { lengths, examples } = plan;
  const facts = [
    ...plan.notes,
    `lengths in tokens: shortest ${lengths.min}, median ${lengths.median}, mean ${lengths.mean}, longest ${lengths.max}`,
    `steps: ${plan.steps} (${plan.steps_per_epoch} per epoch)`,
    parametersLine(plan.trainable_params, plan.all_params),
    `memory peak: about ${Math.ceil(plan.memory_peak_bytes / 1e6)} MB; time: about ${plan.estimated_seconds} s`,
    `output: ${plan.output} (nothing written: --dry-run)`,
  ];
  return `${[...examples.map(exampleText), ...facts].join('\n')}\n`;
}

/** The text of an example with what is not trained in ⟦ ⟧. */
function exampleText({
  where,
  tokens,
  trained_tokens,
  pieces,
}: TrainingPlan['examples'][0]): string {
  const text = pieces.map((piece) => (piece.trained ? piece.text : `⟦${piece.text}⟧`)).join('');
  return `${where}: ${tokens} tokens, ${trained_tokens} trained; what is not trained stands in ⟦ ⟧\n${text}\n`;
}
