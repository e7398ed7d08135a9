export { type Adapter, attachLora, loadAdapter } from './adapter.js';
export {
  type AdapterFile,
  type LoraModule,
  readAdapter,
  type StoredValues,
} from './adapter-file.js';
export type { LoraBias, LoraConfig } from './lora-config.js';
