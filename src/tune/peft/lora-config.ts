/** Which biases are trained and saved with the adapter. */
export type LoraBias = 'none' | 'all' | 'lora_only';

/** Low-rank adaptation of linear layers: y = W x + scale · B A x. @see https://arxiv.org/abs/2106.09685 */
export interface LoraConfig {
  readonly r: number;
  readonly alpha: number;
  /** Probability of dropping an input of A in training. */
  readonly dropout: number;
  /**
   * `all-linear` (every linear but the head), a regular expression for the whole module path, or a
   * list of module paths, their endings (`q_proj`) or globs (`model.layers.0.*`).
   */
  readonly targetModules: readonly string[] | string;
  /** Taken out of the targets; a regular expression or a list of paths and endings. */
  readonly excludeModules?: readonly string[] | string;
  readonly bias: LoraBias;
  /** Scale by alpha / √r instead of alpha / r. @see https://arxiv.org/abs/2312.03732 */
  readonly useRslora: boolean;
  /** A trained bias on B, scaled with it. */
  readonly loraBias?: boolean;
  /** Rank by module: keys are regular expressions for the end of the path, the first match counts. */
  readonly rankPattern?: Readonly<Record<string, number>>;
  /** Alpha by module, as rankPattern. */
  readonly alphaPattern?: Readonly<Record<string, number>>;
  /** Only modules of these layers. */
  readonly layersToTransform?: readonly number[];
  /** Names of the list of layers that layersToTransform counts in (`layers`, `h`). */
  readonly layersPattern?: readonly string[];
  /** Modules trained in full and saved whole. */
  readonly modulesToSave?: readonly string[];
}

/** Rank and scale of one module, patterns applied. */
export function loraScale(
  config: LoraConfig,
  module: string,
): { readonly r: number; readonly scale: number } {
  const r = patternValue(config.rankPattern, module) ?? config.r;
  const alpha = patternValue(config.alphaPattern, module) ?? config.alpha;
  return { r, scale: config.useRslora ? alpha / Math.sqrt(r) : alpha / r };
}

function patternValue(
  patterns: Readonly<Record<string, number>> | undefined,
  module: string,
): number | undefined {
  return Object.entries(patterns ?? {}).find(([key]) =>
    new RegExp(`^(.*\\.)?(${key})$`).test(module),
  )?.[1];
}
