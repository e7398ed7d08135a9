import { join } from 'node:path';
import { writeFileAtomic } from '../../checkpoint/output.js';
import { type StoredTensor, toDtype, writeSafetensors } from '../../checkpoint/writer.js';
import type { Linear } from '../../model/linear.js';
import type { Variable } from '../../tensor/tfjs.js';
import { CONFIG_FILE, peftConfig } from './adapter-config.js';
import { WEIGHTS_FILE } from './adapter-file.js';
import type { LoraConfig } from './lora-config.js';

/** What is saved of an adapter. */
export interface SavedAdapter {
  /** The base as the user named it. */
  readonly baseModel: string;
  readonly config: LoraConfig;
  /** The adapted modules. */
  readonly modules: readonly string[];
  /** All linear layers of the base. */
  readonly linears: ReadonlyMap<string, Linear>;
  /** By PEFT's name. */
  readonly tensors: ReadonlyMap<string, Variable>;
}

/** Writes a PEFT folder: the configuration, a model card and, last, the weights in float32. */
export async function saveAdapter(folder: string, adapter: SavedAdapter): Promise<void> {
  const config = `${JSON.stringify(peftConfig(adapter), null, 2)}\n`;
  await writeFileAtomic(join(folder, CONFIG_FILE), config);
  await writeFileAtomic(join(folder, 'README.md'), modelCard(adapter.baseModel));
  const names = [...adapter.tensors.keys()].sort();
  const tensors = names.map((name): [string, StoredTensor] => {
    const variable = adapter.tensors.get(name) as Variable;
    const bytes = async () => toDtype(await variable.data<'float32'>(), 'F32');
    return [name, { dtype: 'F32', shape: variable.shape, bytes }];
  });
  await writeSafetensors(join(folder, WEIGHTS_FILE), new Map(tensors), { format: 'pt' });
}

function modelCard(baseModel: string): string {
  const name = JSON.stringify(baseModel);
  return `---
base_model: ${name}
library_name: peft
pipeline_tag: text-generation
tags:
- lora
- llmkit
---

# LoRA adapter

A LoRA adapter for ${baseModel}, trained with llmkit. It loads with llmkit
(\`llmkit generate ${baseModel} --adapter .\`) and with PEFT (\`PeftModel.from_pretrained\`).
`;
}
