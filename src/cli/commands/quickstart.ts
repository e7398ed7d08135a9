import { spawn } from 'node:child_process';
import * as z from 'zod';
import { LlmkitError } from '../../errors.js';
import { TRAINING_ONLY } from '../../tensor/compute.js';
import type { QuickstartStep, QuickstartSummary } from '../../workflows/quickstart.js';
import { defineCommand, type Io } from '../command.js';

/** `llmkit quickstart`: the whole loop on the bundled model, each command printed before it runs. */
export const quickstart = defineCommand({
  name: 'quickstart',
  summary: 'Run the whole loop on the bundled model: quantize, fine-tune, merge, evaluate',
  description:
    'Prints each command line before it runs it, so that it can be copied, and ends with a table and an HTML report.',
  arguments: [],
  shape: {
    output: z.string().min(1).default('llmkit-quickstart'),
    force: z.boolean().default(false),
  },
  flags: {
    output: { short: 'o', value: 'DIR', description: 'folder to work in' },
    force: { description: 'replace the folder' },
  },
  examples: [{ command: 'llmkit quickstart', does: 'takes a minute or two on two cores' }],
  check({ compute }, problem) {
    if (compute === 'int8') problem('compute', 'int8 cannot train; use bf16, f32 or auto');
    if (compute !== undefined && TRAINING_ONLY.has(compute)) {
      problem('compute', `${compute} only trains; use bf16, f32 or auto`);
    }
  },
  async run(config, io) {
    const { prepareQuickstart } = await import('../../workflows/quickstart.js');
    const { name: backend, device } = await backendOf(config, io);
    const tour = await prepareQuickstart({ ...config, reduced: backend !== 'native' });
    // The steps' own processes: the choice is made, and its warning said, once.
    const env = { LLMKIT_BACKEND: backend, LLMKIT_DEVICE: device, ...threadsOf(config.threads) };
    const generated: unknown[] = [];
    for (const [i, step] of tour.steps.entries()) {
      say(
        io,
        `\n[${i + 1}/${tour.steps.length}] ${step.title}\n$ npx llmkit ${quoted(step.args)}\n`,
      );
      const printed = await runStep(step, { io, env });
      if (step.args.includes('--json')) generated.push(showText(printed, io));
    }
    const summary = await tour.summarize(generated);
    if (io.json) io.printJson(summary);
    else io.stdout(table(summary));
    return 0;
  },
});

/** What every step computes with. On a slow backend the tour is shortened, and says so. */
async function backendOf(
  config: { readonly backend?: string | undefined; readonly device: string },
  io: Io,
) {
  const { chosenBackend } = await import('../../workflows/backend.js');
  const { name, device, warning } = await chosenBackend(config);
  if (warning !== undefined) io.warn(warning);
  if (name !== 'native') {
    io.note(`The ${name} backend is slow: a reduced tour with fewer documents and training steps.`);
  }
  return { name, device };
}

function threadsOf(threads: number | undefined): Record<string, string> {
  return threads === undefined ? {} : { LLMKIT_THREADS: String(threads) };
}

/** Under `--json` stdout is the summary alone. */
function say(io: Io, text: string): void {
  if (io.json) io.note(text.trimEnd());
  else io.stdout(text);
}

/** A command line that can be pasted into a shell. */
function quoted(args: readonly string[]): string {
  return args
    .map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`))
    .join(' ');
}

/** Runs a step as its own process. @returns what it printed on stdout, shown unless it is JSON */
function runStep(
  step: QuickstartStep,
  { io, env }: { readonly io: Io; readonly env: Readonly<Record<string, string>> },
): Promise<string> {
  const program = process.argv[1] ?? '';
  const child = spawn(process.execPath, [program, ...step.args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
    if (!step.args.includes('--json')) say(io, text);
  });
  const stop = () => child.kill('SIGINT');
  io.signal.addEventListener('abort', stop, { once: true });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      io.signal.removeEventListener('abort', stop);
      if (code === 0) resolve(printed);
      else
        reject(new LlmkitError('config', `quickstart: that command ended with exit code ${code}`));
    });
  });
}

/** Shows the text of a completion object. @returns the object */
function showText(printed: string, io: Io): unknown {
  const document = JSON.parse(printed) as { choices: { text: string }[] };
  say(io, `… ${document.choices[0]?.text.trim()}\n`);
  return document;
}

function table({ columns, rows, report }: QuickstartSummary): string {
  const widths = columns.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('   ');
  const rule = widths.map((width) => '─'.repeat(width)).join('───');
  return `\n${[line(columns), rule, ...rows.map(line)].join('\n')}\n\nReport: ${report}\n`;
}
