import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { identityOf } from '../checkpoint/identity.js';
import { writeFileAtomic } from '../checkpoint/output.js';
import { LlmkitError } from '../errors.js';
import type { TaskResult, TaskRun } from '../eval/harness.js';
import type { ResultsDocument } from '../eval/results.js';
import { sampleRows } from '../eval/sample-row.js';
import { reportWriters } from '../report/index.js';
import type { EvalOptions } from './eval-options.js';
import { evalReport } from './eval-report.js';
import { MANIFEST_FILE, sha256OfFile, writeManifest } from './manifest.js';
import type { OpenModel } from './open-model.js';

/** What the files are written from. */
export interface EvalRun {
  readonly options: EvalOptions;
  readonly runs: readonly TaskRun[];
  readonly results: readonly TaskResult[];
  readonly opened: OpenModel;
}

/** Throws `usage` where the output cannot be a folder: before hours of work. */
export function checkOutput(out: string): void {
  if (!existsSync(out) || statSync(out).isDirectory()) return;
  throw new LlmkitError('usage', `-o: expected a folder, got the file ${out}`);
}

/**
 * Adds results, samples and reports below the output folder as lm-evaluation-harness names them;
 * nothing that is there is replaced.
 *
 * @returns the files' paths; none without an output folder
 */
export async function writeResults(
  document: ResultsDocument,
  run: EvalRun,
): Promise<readonly string[]> {
  const { options, results, opened } = run;
  if (options.out === undefined) return [];
  const folder = join(options.out, String(document.model_name_sanitized));
  await mkdir(folder, { recursive: true });
  const id = freeDateId(folder);
  const files: string[] = [];
  const write = async (name: string, content: string | Uint8Array) => {
    files.push(join(folder, name));
    await writeFileAtomic(join(folder, name), content);
  };
  if (options.logSamples) {
    for (const result of results) {
      const lines = [];
      for (const row of sampleRows(result, opened.tokenizer)) {
        lines.push(Buffer.from(`${JSON.stringify(row)}\n`));
      }
      await write(`samples_${result.name}_${id}.jsonl`, Buffer.concat(lines));
    }
  }
  await write(`results_${id}.json`, `${JSON.stringify(document, null, 2)}\n`);
  const report = evalReport(document, results);
  for (const writer of Object.values(reportWriters)) {
    await write(`report_${id}${writer.extension}`, writer.write(report));
  }
  if (!existsSync(join(folder, MANIFEST_FILE))) await describe(folder, document, run);
  return files;
}

/** The local time as lm-evaluation-harness writes it in names, later where that is taken. */
function freeDateId(folder: string): string {
  for (let ms = Date.now(); ; ms++) {
    const local = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
    const id = `${local.toISOString().slice(0, -1).replaceAll(':', '-')}000`;
    if (!existsSync(join(folder, `results_${id}.json`))) return id;
  }
}

/** The folder's manifest, of its first run; every run's own facts are in its results. */
async function describe(
  folder: string,
  document: ResultsDocument,
  { options, runs, opened }: EvalRun,
): Promise<void> {
  const inputs = runs.map(async ({ path }) => [path, await sha256OfFile(path)]);
  await writeManifest(folder, {
    command: 'eval',
    config: { ...options.config },
    inputs: Object.fromEntries(await Promise.all(inputs)),
    base_model: { name: options.model, identity: await identityOf(opened.checkpoint) },
    tokenizer: opened.tokenizer.hash,
    ...(opened.tokenizer.chatTemplate && { chat_template: opened.tokenizer.chatTemplate.hash }),
    backend: opened.backend.description,
    device: opened.backend.device,
    compute: opened.compute,
    timings: { evaluate: Number(document.total_evaluation_time_seconds) },
  });
}
