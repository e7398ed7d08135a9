import { type ParameterSpec, specsOf } from '../../model/layout.js';
import { roundsStates } from '../../tune/optimizer.js';
import { type Paging, planPaging } from '../../tune/paging.js';
import { Trainer } from '../../tune/trainer.js';
import type { Base } from './base.js';
import type { TrainingConfig } from './config.js';
import type { TrainingData } from './data.js';
import { activationBytes } from './memory.js';
import { FLOAT_BYTES, parameterStateBytes, sizesOf } from './sizes.js';
import type { Trainee } from './trainee.js';

/** What a trainer is made for. */
interface TrainerRun {
  readonly config: TrainingConfig;
  readonly base: Base;
  readonly data: TrainingData;
  readonly trainee: Trainee;
  /** Told what stays on the host. */
  readonly onNote: (text: string) => void;
}

/** The trainer of a run, whose tensors go to the host where `device_map` asks for it. */
export function newTrainer(run: TrainerRun): Trainer {
  const { config, trainee } = run;
  const roleOf = parameterRoles(trainee);
  return new Trainer(trainee.model, trainee.variables, {
    optimizer: {
      isRounded: (name, { size }) =>
        config.optim === 'adamw_8bit' && roundsStates(size, roleOf(name)),
      beta1: config.adam_beta1,
      beta2: config.adam_beta2,
      eps: config.adam_eps,
      weightDecay: config.weight_decay,
    },
    maxGradNorm: config.max_grad_norm,
    checkpointing: config.gradient_checkpointing,
    paging: pagingOf(run),
  });
}

/** What each trained parameter is; an adapter's are matrices. */
function parameterRoles({ model }: Trainee): (name: string) => ParameterSpec['role'] {
  const roles = new Map(specsOf(model.config).map(({ name, role }) => [name, role]));
  return (name) => roles.get(name) ?? 'linear';
}

/** Tensors of a parameter's size that a step makes beside activations: a gradient, a sum, squares. */
const MADE_TENSORS = 3;

/** An adapter's tensors stay on the device: the layers beside them are what goes. */
function pagingOf({ config, base, data, trainee, onNote }: TrainerRun): Paging | undefined {
  if (config.device_map === undefined || config.method !== 'full') return undefined;
  const roleOf = parameterRoles(trainee);
  const parameters = new Map(
    [...trainee.variables].map(([name, { size }]) => {
      return [name, { size, stateBytes: parameterStateBytes(config, size, roleOf(name)) }];
    }),
  );
  const ofRun = sizesOf(config, base);
  const made = MADE_TENSORS * Math.max(0, ...[...parameters.values()].map(({ size }) => size));
  // A block that is recomputed makes the gradients of all of its weights together.
  const block = config.gradient_checkpointing ? ofRun.all / ofRun.decoder.numLayers : 0;
  const activations = activationBytes(config, { base, data, sizes: ofRun });
  const workingBytes = activations + (made + block) * FLOAT_BYTES;
  const paging = planPaging({ parameters, workingBytes });
  if (paging) onNote(describe(paging));
  return paging;
}

function describe({ bytes }: Paging): string {
  const megabytes = (count: number) => Math.ceil(count / 1e6);
  return (
    `device map: ${megabytes(bytes.onHost)} of ${megabytes(bytes.all)} MB of weights, gradients and ` +
    'optimizer states on the host'
  );
}
