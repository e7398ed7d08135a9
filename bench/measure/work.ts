import type { Peaks } from './limits.js';

/** Figures of one run by the metrics' keys; a run may not know all of them. */
export type Figures = Readonly<Record<string, number | undefined>>;

/** Something that is measured of a work. */
export interface Metric {
  /** Its name in `Figures`. */
  readonly key: string;
  /** The row's name. */
  readonly work: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  /** The figure that the machine allows, in the row's unit; undefined where it was not measured. @param peaks with the bandwidth probed around the runs */
  readonly limit?: (peaks: Peaks) => number | undefined;
}

/** One that can do the work: llmkit or a peer. */
export interface Contender {
  readonly name: string;
  /** One run, in a process of its own. */
  measure(): Promise<Figures>;
}

/** A work that llmkit and its peers do in turns. */
export interface Work {
  /** What `--only` is matched with. */
  readonly name: string;
  readonly threads: number;
  readonly metrics: readonly Metric[];
  /** The checkpoint whose files llmkit reads: how fast that is possible is probed, too. */
  readonly reads?: () => Promise<string>;
  /** Makes the models that are missing, and then the contenders, llmkit first. */
  open(): Promise<readonly Contender[]>;
}
