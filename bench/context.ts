import type { ModelCache } from './models/cache.js';
import type { BenchOptions } from './options.js';
import type { Peers } from './peers/index.js';

/** What the works are made from. */
export interface BenchContext {
  readonly options: BenchOptions;
  /** The repository. */
  readonly root: string;
  readonly models: ModelCache;
  readonly peers: Peers;
  /** A text for prompts, scoring and training. */
  readonly text: string;
}
