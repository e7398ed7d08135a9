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

/** The local folder of a model: the folder itself, or a hub id `org/name[@revision]` downloaded into the Hugging Face cache. */
export async function resolveModel(model: string, _options: DownloadOptions = {}): Promise<string> {
  throw new LlmkitError('unsupported', `resolveModel: not written yet (${model})`);
}

/** Local path of one file of a dataset on the hub, downloaded into the Hugging Face cache. */
export async function downloadDatasetFile(
  repo: string,
  path: string,
  _options: DownloadOptions & { revision?: string } = {},
): Promise<string> {
  throw new LlmkitError('unsupported', `downloadDatasetFile: not written yet (${repo} ${path})`);
}
