import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where the hub is, where its files are kept and who asks, from the variables that Hugging Face's own tools read. */
export interface HubSettings {
  /** HF_ENDPOINT, without a slash at the end. */
  readonly url: string;
  /** HF_HUB_CACHE, else `hub` in HF_HOME. */
  readonly cache: string;
  /** HF_TOKEN, else the file that `hf auth login` writes. */
  readonly token: string | undefined;
  /** HF_HUB_OFFLINE. */
  readonly isOffline: boolean;
}

/** Reads the settings from the environment. */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const cacheHome = env.XDG_CACHE_HOME || join(homedir(), '.cache');
  const home = expand(env.HF_HOME || join(cacheHome, 'huggingface'));
  return {
    url: (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    cache: expand(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub')),
    token: env.HF_TOKEN?.trim() || storedToken(expand(env.HF_TOKEN_PATH || join(home, 'token'))),
    isOffline: /^(1|on|yes|true)$/i.test(env.HF_HUB_OFFLINE ?? ''),
  };
}

function expand(path: string): string {
  return path.startsWith('~/') ? join(homedir(), path.slice(2)) : path;
}

function storedToken(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}
