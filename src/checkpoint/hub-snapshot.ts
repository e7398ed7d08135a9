import { join } from 'node:path';
import {
  datasetInfo,
  HubApiError,
  type ListFileEntry,
  listFiles,
  modelInfo,
  pathsInfo,
} from '@huggingface/hub';
import { LlmkitError } from '../errors.js';
import type { DownloadOptions } from './hub.js';
import { exists, type HubRepo, RepoCache } from './hub-cache.js';
import { type HubSettings, hubSettings } from './hub-settings.js';
import { download, type HubFile, reasonOf } from './hub-transfer.js';
import { checkFreeDisk } from './output.js';

/** Downloads a model into the cache. @returns its folder there; see resolveModel */
export async function modelSnapshot(
  { name, revision }: { name: string; revision: string },
  { label, ...options }: DownloadOptions & { label: string },
): Promise<string> {
  const repo = { type: 'model', name } as const;
  const request: Request = { repo, revision, settings: hubSettings(), ...options };
  const list = async (commit: string) => modelFiles(label, await listAll(request, commit));
  return fetchSnapshot(request, { list, isComplete: hasConfig });
}

/** Downloads a dataset's file into the cache. @returns its path there; see downloadDatasetFile */
export async function datasetFile(
  repo: string,
  path: string,
  options: DownloadOptions & { revision?: string },
): Promise<string> {
  const { revision = 'main', ...rest } = options;
  const request: Request = {
    repo: { type: 'dataset', name: repo },
    revision,
    settings: hubSettings(),
    path,
    ...rest,
  };
  const list = async (commit: string) => {
    const entries = await pathsInfo({
      ...access(request),
      repo: request.repo,
      revision: commit,
      paths: [path],
    });
    return entries.filter((entry) => entry.path === path).map(fileOf);
  };
  const isComplete = (folder: string) => exists(join(folder, path));
  const folder = await fetchSnapshot(request, { list, isComplete });
  if (await isComplete(folder)) return join(folder, path);
  throw new LlmkitError(
    'checkpoint',
    `${request.settings.url}: dataset ${repo} (${revision}) holds no ${path}`,
  );
}

/** Of a model, or of an adapter. */
async function hasConfig(folder: string): Promise<boolean> {
  const names = ['config.json', 'adapter_config.json'];
  return (await Promise.all(names.map((name) => exists(join(folder, name))))).includes(true);
}

interface Request extends DownloadOptions {
  readonly repo: HubRepo;
  readonly revision: string;
  readonly settings: HubSettings;
  /** The one file that is wanted. */
  readonly path?: string;
}

/** What of a repository is wanted. */
interface Wanted {
  list(commit: string): Promise<HubFile[]>;
  /** Whether a cached snapshot will do. */
  isComplete(folder: string): Promise<boolean>;
}

async function fetchSnapshot(request: Request, { list, isComplete }: Wanted): Promise<string> {
  const { repo, revision, settings } = request;
  const cache = new RepoCache(settings.cache, repo);
  const cached = async () => {
    const commit = await cache.commitOf(revision);
    const folder = commit === undefined ? undefined : cache.snapshot(commit);
    return folder !== undefined && (await isComplete(folder)) ? folder : undefined;
  };
  if (settings.isOffline) {
    const folder = await cached();
    if (folder !== undefined) return folder;
    throw unavailable(request, 'HF_HUB_OFFLINE is set');
  }
  try {
    const commit = await commitOf(request);
    const files = await list(commit);
    await checkRoom(cache, files);
    for (const file of files) await fetchFile(request, { cache, commit, file });
    await cache.setCommit(revision, commit);
    return cache.snapshot(commit);
  } catch (error) {
    if (error instanceof LlmkitError) throw error;
    if (error instanceof HubApiError && error.statusCode < 500) throw refusal(request, error);
    const folder = await cached();
    if (folder !== undefined) return folder;
    throw unavailable(request, `${settings.url} cannot be reached: ${reasonOf(error)}`);
  }
}

async function checkRoom(cache: RepoCache, files: readonly HubFile[]): Promise<void> {
  let neededBytes = 0;
  for (const { etag, sizeBytes } of files) {
    if (!(await exists(cache.blob(etag)))) neededBytes += sizeBytes;
  }
  await checkFreeDisk(cache.folder, neededBytes);
}

async function commitOf(request: Request): Promise<string> {
  const { repo, revision } = request;
  const options = {
    ...access(request),
    name: repo.name,
    revision,
    additionalFields: ['sha' as const],
  };
  const { sha } = repo.type === 'model' ? await modelInfo(options) : await datasetInfo(options);
  if (/^[\da-f]{40}$/.test(sha)) return sha;
  throw new LlmkitError(
    'checkpoint',
    `${request.settings.url}: expected a commit of ${repo.name}, got ${sha}`,
  );
}

async function fetchFile(
  request: Request,
  { cache, commit, file }: { cache: RepoCache; commit: string; file: HubFile },
): Promise<void> {
  const { repo, settings, onProgress } = request;
  const target = cache.blob(file.etag);
  if (!(await exists(target))) {
    const prefix = repo.type === 'model' ? '' : `${repo.type}s/`;
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    await download({
      url: `${settings.url}/${prefix}${repo.name}/resolve/${commit}/${path}`,
      file,
      target,
      fetch: access(request).fetch,
      onProgress: (receivedBytes) =>
        onProgress?.({ file: file.path, receivedBytes, totalBytes: file.sizeBytes }),
    });
  }
  await cache.link(commit, file);
}

/** The hub's address, and a fetch that says who asks (fetch drops the header where another host answers). */
function access({ settings }: Request): { hubUrl: string; fetch: typeof fetch } {
  const { url, token } = settings;
  const authorized: typeof fetch = (resource, init) => {
    const headers = new Headers(init?.headers);
    if (token !== undefined) headers.set('Authorization', `Bearer ${token}`);
    return fetch(resource, { ...init, headers });
  };
  return { hubUrl: url, fetch: authorized };
}

async function listAll(request: Request, commit: string): Promise<ListFileEntry[]> {
  const entries: ListFileEntry[] = [];
  for await (const entry of listFiles({
    ...access(request),
    repo: request.repo,
    revision: commit,
  })) {
    entries.push(entry);
  }
  return entries;
}

/** The files at the top that a checkpoint is made of: weights in safetensors, JSON, tokenizer and template. */
function modelFiles(model: string, entries: readonly ListFileEntry[]): HubFile[] {
  const files = entries.filter(({ type, path }) => type === 'file' && !path.includes('/'));
  const names = new Set(files.map(({ path }) => path));
  const weights = [...names].filter(
    (name) => /\.safetensors$/.test(name) && !/^consolidated/.test(name),
  );
  const pickled = [...names].find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  if (weights.length === 0 && pickled !== undefined) {
    throw new LlmkitError(
      'unsupported',
      `${model}: expected safetensors on the hub, found only ${pickled}: pickled weights can run code and are not ` +
        'read; choose a repository or revision with safetensors, or convert it once in Python (from_pretrained, save_pretrained)',
    );
  }
  const wanted = new Set(names.has('model.safetensors') ? ['model.safetensors'] : weights);
  return files
    .filter(({ path }) => wanted.has(path) || /\.(json|jinja|model|txt)$/.test(path))
    .map(fileOf);
}

/** Names and digests come from the hub: both become paths here. */
function fileOf(entry: Pick<ListFileEntry, 'path' | 'size' | 'oid' | 'lfs'>): HubFile {
  const etag = entry.lfs?.oid ?? entry.oid ?? '';
  const parts = entry.path.split('/');
  const isPlain =
    parts.every((part) => !['', '.', '..'].includes(part)) && !/[\\:\0]/.test(entry.path);
  if (isPlain && /^(?:[\da-f]{40}|[\da-f]{64})$/.test(etag)) {
    return { path: entry.path, sizeBytes: entry.lfs?.size ?? entry.size, etag };
  }
  throw new LlmkitError(
    'checkpoint',
    `hub: expected a file name and a digest, got '${entry.path}' and '${etag}'`,
  );
}

function refusal({ repo, revision, settings }: Request, error: HubApiError): LlmkitError {
  const what = `${settings.url}/${repo.type === 'model' ? '' : 'datasets/'}${repo.name}`;
  const messages: Readonly<Record<number, string>> = {
    401: `there is no such ${repo.type}, or it is private: set HF_TOKEN to a token that may read it`,
    403: `access is refused: ask for it on that page and set HF_TOKEN`,
    404: `there is no such ${repo.type}, or it has no revision '${revision}'`,
  };
  const problem =
    messages[error.statusCode] ?? `the hub answered HTTP ${error.statusCode}: ${error.message}`;
  return new LlmkitError('checkpoint', `${what}: ${problem}`);
}

function unavailable({ repo, revision, settings, path }: Request, reason: string): LlmkitError {
  const options = [
    repo.type === 'dataset' ? ' --repo-type dataset' : '',
    revision === 'main' ? '' : ` --revision ${revision}`,
  ];
  const command = `hf download ${repo.name}${path ? ` ${path}` : ''}${options.join('')}`;
  return new LlmkitError(
    'checkpoint',
    `${repo.name}: is not in the cache (${settings.cache}) and ${reason}; run this once with the network, or ` +
      `\`${command}\``,
  );
}
