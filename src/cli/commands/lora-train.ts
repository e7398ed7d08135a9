import { checkTraining, trainingShape } from '../../workflows/training/config.js';
import { defineCommand, type Io } from '../command.js';

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
    const { runTraining } = await import('../../workflows/lora-train.js');
    const progress: { current?: ReturnType<Io['progress']> } = {};
    const result = await runTraining({
      config,
      signal: io.signal,
      events: {
        note: io.note,
        warn: io.warn,
        start: (done, total) => {
          progress.current = io.progress('training', total, 'steps');
          progress.current.update(done);
        },
        step: ({ step, loss, learningRate }) =>
          progress.current?.update(
            step,
            `loss ${loss.toFixed(4)} · lr ${learningRate.toExponential(2)}`,
          ),
        evaluation: ({ step, loss }) => io.note(`step ${step}: eval loss ${loss.toFixed(4)}`),
      },
    }).finally(() => progress.current?.end());
    if (io.json) io.printJson(result);
    else io.stdout(summary(result));
    return 0;
  },
});

type Result = Awaited<ReturnType<typeof import('../../workflows/lora-train.js').runTraining>>;

function summary(result: Result): string {
  const { output, end, steps, final_loss, seconds, best_eval } = result;
  const what = end === 'interrupted' ? 'interrupted; go on with --resume' : end;
  const loss = final_loss === undefined ? '' : `, loss ${final_loss.toFixed(4)}`;
  const best = best_eval ? `, best eval loss ${best_eval.loss.toFixed(4)}` : '';
  return `${output}: ${what} after ${steps} steps${loss}${best} (${seconds.toFixed(1)} s)\n`;
}
