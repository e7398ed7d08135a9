import * as z from 'zod';
import { defineCommand } from '../command.js';

/** `llmkit backend list`: what computes, and why not. */
export const backend = defineCommand({
  name: 'backend',
  summary: 'Show which backends load on this machine, and why not',
  arguments: [{ key: 'action', name: 'ACTION', description: 'list (the only one)' }],
  shape: { action: z.enum(['list']).default('list') },
  flags: {},
  examples: [{ command: 'llmkit backend list', does: 'one line per backend' }],
  async run(_config, io) {
    const { describeBackends } = await import('../../workflows/backend.js');
    const backends = await describeBackends();
    if (io.json) io.printJson({ backends });
    for (const { name, loads, detail, compute = {} } of io.json ? [] : backends) {
      const kernels = Object.entries(compute).map(([type, isa]) => `${type} ${isa}`);
      const text = kernels.length > 0 ? `${detail}: ${kernels.join(', ')}` : detail;
      io.stdout(`${name.padEnd(11)} ${loads ? 'loads  ' : 'missing'}  ${text}\n`);
    }
    return 0;
  },
});
