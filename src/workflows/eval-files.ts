import { existsSync } from 'node:fs';
import { type DownloadOptions, downloadDatasetFile } from '../checkpoint/hub.js';
import { LlmkitError } from '../errors.js';
import type { TaskRun } from '../eval/harness.js';
import type { Task } from '../eval/task.js';
import { tasks } from '../eval/tasks/index.js';

/** Which tasks, and the user's files for them by task name. */
export interface TaskSelection {
  readonly tasks: readonly string[];
  readonly data?: Readonly<Record<string, string>> | undefined;
  /** Files few-shot examples are drawn from. */
  readonly fewshotData?: Readonly<Record<string, string>> | undefined;
  readonly numFewshot?: number | undefined;
  readonly onDownload?: NonNullable<DownloadOptions['onProgress']>;
}

/**
 * Finds each task's files: the user's, else the data set on the hub, through its cache.
 *
 * @throws LlmkitError `usage` for unknown tasks, `config` for missing files
 */
export async function findTaskFiles(selection: TaskSelection): Promise<readonly TaskRun[]> {
  const { data = {}, fewshotData = {}, onDownload } = selection;
  const download = onDownload ? { onProgress: onDownload } : {};
  checkNames(selection.tasks, { data, fewshotData });
  const runs: TaskRun[] = [];
  for (const name of new Set(selection.tasks)) {
    const task = taskNamed(name);
    const fromHub = (file: string | undefined) =>
      task.hub && file !== undefined
        ? hubFile(name, { repo: task.hub.repo, file }, download)
        : undefined;
    const path = data[name] ?? (await fromHub(task.hub?.evaluated));
    if (path === undefined) {
      throw new LlmkitError(
        'usage',
        `${name}: expected its data, got none; give it with --data ${name}=FILE`,
      );
    }
    const drawsFromHub = data[name] === undefined && (selection.numFewshot ?? 0) > 0;
    const fewShotPath =
      fewshotData[name] ?? (drawsFromHub ? await fromHub(task.hub?.fewShot) : undefined);
    for (const file of [path, fewShotPath]) if (file !== undefined) checkExists(name, file);
    runs.push({ name, task, path, fewShotPath });
  }
  return runs;
}

function taskNamed(name: string): Task {
  const task = tasks[name];
  if (task) return task;
  const known = Object.keys(tasks).join(', ');
  throw new LlmkitError('usage', `--tasks: unknown task '${name}'; the tasks are ${known}`);
}

function checkNames(
  selected: readonly string[],
  files: Readonly<Record<'data' | 'fewshotData', Readonly<Record<string, string>>>>,
): void {
  for (const [flag, names] of Object.entries(files)) {
    for (const name of Object.keys(names)) {
      if (selected.includes(name)) continue;
      throw new LlmkitError(
        'usage',
        `${flag === 'data' ? '--data' : '--fewshot-data'}: expected the name of a task of --tasks (${selected.join(', ')}), got '${name}'`,
      );
    }
  }
}

function checkExists(name: string, path: string): void {
  if (existsSync(path)) return;
  throw new LlmkitError(
    'config',
    `${name}: expected its data at ${path}, but there is no such file`,
  );
}

/** The local copy of a task's file on the hub. */
async function hubFile(
  name: string,
  { repo, file }: { readonly repo: string; readonly file: string },
  download: DownloadOptions,
): Promise<string> {
  try {
    return await downloadDatasetFile(repo, file, download);
  } catch (error) {
    if (!(error instanceof LlmkitError)) throw error;
    const message = `${name}: ${error.message}; or give a copy with --data ${name}=FILE`;
    throw new LlmkitError(error.code, message, { cause: error });
  }
}
