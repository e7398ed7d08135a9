/** Outcome of one of tfjs-core's specs. */
export interface SpecResult {
  readonly name: string;
  readonly status: string;
  readonly failures: readonly string[];
  readonly duration: number;
}
