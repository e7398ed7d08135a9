import { z } from 'zod';
import { defineCommand } from '../command.js';

/** `llmkit generate`: continues a prompt. */
export const generate = defineCommand({
  name: 'generate',
  summary: 'Continue a prompt, or converse with --chat',
  arguments: [{ key: 'model', name: 'MODEL', description: 'folder or hub id', kind: 'model' }],
  shape: {
    model: z.string(),
    prompt: z.string().optional(),
    max_new_tokens: z.int().min(0).optional(),
    temperature: z.number().min(0).optional(),
    stop: z.array(z.string().min(1)).default([]),
  },
  flags: {
    prompt: { short: 'p', value: 'TEXT', description: 'the text to continue; - reads stdin' },
    max_new_tokens: { value: 'N', description: 'new tokens at most' },
    temperature: { value: 'T', description: '0 is greedy' },
    stop: { value: 'TEXT', repeat: true, description: 'end before this text (repeatable)' },
  },
  examples: [{ command: 'llmkit generate MODEL --prompt "Once upon a time"', does: 'streams' }],
  async run(config, io) {
    io.stdout(`${config.model} ${config.temperature}\n`);
    return 0;
  },
});
