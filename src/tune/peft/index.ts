export type { Adapter } from './adapter.js';
export {
  type AdapterFile,
  type LoraModule,
  readAdapter,
  type StoredValues,
} from './adapter-file.js';
export { attachLora } from './attach.js';
export { loadAdapter } from './load.js';
export type { LoraBias, LoraConfig } from './lora-config.js';
export { addLoraDelta } from './lora-delta.js';
