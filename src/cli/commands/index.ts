import type { Command } from '../command.js';

/** Every command by name, in the order of the help. Loaded when used: nothing heavy before. */
export const commands: Readonly<Record<string, () => Promise<Command>>> = {
  quickstart: async () => (await import('./quickstart.js')).quickstart,
  quantize: async () => (await import('./quantize.js')).quantize,
  'lora-train': async () => (await import('./lora-train.js')).loraTrain,
  merge: async () => (await import('./merge.js')).merge,
  eval: async () => (await import('./eval.js')).evalCommand,
  generate: async () => (await import('./generate.js')).generate,
  backend: async () => (await import('./backend.js')).backend,
};
