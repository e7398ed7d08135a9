import { stat } from 'node:fs/promises';
import { LlmkitError } from '../errors.js';

/** Bytes received of a file. */
export interface DownloadProgress {
  readonly file: string;
  readonly receivedBytes: number;
  readonly totalBytes: number;
}

/** What a download may be told. */
export interface DownloadOptions {
  readonly onProgress?: (progress: DownloadProgress) => void;
}

const HUB_ID = /^([A-Za-z\d][\w.-]*\/[A-Za-z\d][\w.-]*)(?:@([\w.-][\w./-]*))?$/;

/**
 * The local folder of a model: the folder itself, or a hub id `org/name[@revision]` downloaded into the Hugging Face
 * cache (from which it is read when the hub cannot be reached, or with HF_HUB_OFFLINE=1).
 *
 * @throws LlmkitError `checkpoint` when there is no such folder or model
 */
export async function resolveModel(model: string, options: DownloadOptions = {}): Promise<string> {
  const entry = await stat(model).catch(() => undefined);
  if (entry?.isDirectory()) return model;
  const [, name, revision = 'main'] = entry ? [] : (HUB_ID.exec(model) ?? []);
  if (name === undefined || revision.includes('..')) {
    const problem = entry ? 'is a file' : 'does not exist';
    throw new LlmkitError(
      'checkpoint',
      `${model}: expected a model's folder or a hub id (org/name or org/name@revision); this ${problem}`,
    );
  }
  // The hub's library is loaded by those who use the hub.
  const { modelSnapshot } = await import('./hub-snapshot.js');
  return modelSnapshot({ name, revision }, { ...options, label: model });
}

/**
 * Local path of one file of a dataset on the hub, downloaded into the Hugging Face cache.
 *
 * @param repo org/name
 * @throws LlmkitError `checkpoint` when it is neither in the cache nor on the hub
 */
export async function downloadDatasetFile(
  repo: string,
  path: string,
  options: DownloadOptions & { revision?: string } = {},
): Promise<string> {
  const { datasetFile } = await import('./hub-snapshot.js');
  return datasetFile(repo, path, options);
}
