import type { LoraConfig } from '../../tune/peft/index.js';
import type { TrainingConfig } from './config.js';

/** The `lora` section of a training config as the adapter's code takes it. */
export function loraConfig({ lora }: TrainingConfig): LoraConfig {
  const { target_modules, use_rslora, ...rest } = lora;
  return { ...rest, targetModules: target_modules, useRslora: use_rslora };
}
