import { setImmediate as nextTurn } from 'node:timers/promises';
import type { HfConfig } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';
import type { KvDtype } from '../tensor/kv-dtype.js';
import { checkpointed, type TokenScores } from '../tensor/ops/index.js';
import {
  add,
  backend,
  concat,
  dispose,
  pad,
  reshape,
  slice,
  Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  tidy,
} from '../tensor/tfjs.js';
import { Batch, type PassTokens, type TokenRow, tensorsOf } from './batch.js';
import { Block } from './block.js';
import type { DecoderConfig } from './config.js';
import { type Embedding, TableEmbedding } from './embedding.js';
import { headLosses, headScores, scoredAtOnce } from './head.js';
import { Kept } from './kept.js';
import { KvCache } from './kv-cache.js';
import { HEAD, moduleOf, specsOf } from './layout.js';
import { DenseLinear, type ForwardContext, type Linear, trainable } from './linear.js';
import {
  linearOf,
  type ModelParts,
  matrixOf,
  type ParameterValue,
  type VariableComputes,
  vectorOf,
} from './modules.js';
import { Norm } from './norm.js';

export type { TokenRow } from './batch.js';

/** Options of a forward pass. */
export interface ForwardOptions {
  /** Rows continue at cache.lengths, and are added to the cache. */
  readonly cache?: KvCache;
  /** Recompute each block in the backward pass instead of keeping its activations. */
  readonly checkpointing?: boolean;
  readonly context?: ForwardContext;
}

/** A decoder-only language model: one network, shaped by the switches of its configuration. */
export class Decoder {
  readonly config: DecoderConfig;
  readonly checkpointConfig: HfConfig;
  /** Logical parameters: a tied head counts once, a quantized matrix as its original. */
  readonly numParameters: number;
  /** Dense parameters by Hugging Face tensor name: variables, trainable when loaded so. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly #values: ReadonlyMap<string, ParameterValue>;
  readonly #linears: Map<string, Linear>;
  readonly #embeddings: Map<string, Embedding>;
  readonly #parts: ModelParts;
  readonly #blocks: readonly Block[];
  readonly #finalNorm: Norm | undefined;
  /** What is dear to make and may serve another text. */
  readonly kept = new Kept();
  #layers: readonly object[] | undefined;

  /** @param values every parameter of the config, by Hugging Face name; the decoder owns them */
  constructor(
    config: DecoderConfig,
    checkpointConfig: HfConfig,
    values: ReadonlyMap<string, ParameterValue>,
    computes: VariableComputes = new Map(),
  ) {
    this.config = config;
    this.checkpointConfig = checkpointConfig;
    this.#values = values;
    const dense = [...values].filter(([, value]) => value instanceof Tensor);
    this.parameters = new Map(dense as [string, Tensor][]);
    this.#linears = makeLinears(config, values, computes);
    this.#parts = { config, parameters: values, linears: this.#linears };
    this.#embeddings = makeEmbeddings(this.#parts);
    this.#blocks = Array.from({ length: config.numLayers }, (_, i) => new Block(this.#parts, i));
    if (config.finalNorm) this.#finalNorm = new Norm(this.#parts, config.names.finalNorm);
    this.numParameters = specsOf(config).reduce(
      (sum, { shape }) => sum + shape.reduce((size, length) => size * length, 1),
      0,
    );
  }

  /** Linear layers by module path, `lm_head` included. */
  get linears(): ReadonlyMap<string, Linear> {
    return this.#linears;
  }

  /** Replaces a linear layer by what wrap returns. */
  wrapLinear(name: string, wrap: (inner: Linear) => Linear): void {
    this.#linears.set(name, wrap(linearOf(this.#parts, name)));
    this.#layers = undefined;
  }

  /** Tables of tokens and of learned positions by module path. */
  get embeddings(): ReadonlyMap<string, Embedding> {
    return this.#embeddings;
  }

  /** Replaces a table by what wrap returns; a tied head keeps the base's own. */
  wrapEmbedding(name: string, wrap: (inner: Embedding) => Embedding): void {
    this.#embeddings.set(name, wrap(this.#embedding(name)));
    this.#layers = undefined;
  }

  /**
   * Final-normed hidden states, rows right-padded to the longest; what stands in the padding means nothing.
   *
   * RoPE of type `dynamic` depends on the length of each sequence. A cached row that outgrows the trained
   * length is computed anew as a whole, so that it equals the same row without a cache.
   *
   * @returns [B, T, D]
   * @throws LlmkitError `shape` on ids outside the vocabulary, on rows beyond learned positions
   */
  forward(rows: readonly TokenRow[], options: ForwardOptions = {}): Tensor3D {
    const { cache } = options;
    const batch = this.#batchOf(rows, cache);
    if (cache && this.#outgrows(cache, rows)) return this.#forwardAnew(rows, cache, options);
    const hidden = tidy(() => this.#run(batch, options));
    cache?.advance(rows.map((row) => row.ids));
    return hidden;
  }

  /**
   * Logits after one more token per row, which is added to the cache. They hold until the next call: where the
   * backend records steps, they are the recording's own.
   *
   * @returns [B, V]
   * @throws LlmkitError as `forward`
   */
  next(ids: readonly number[], cache: KvCache): Tensor2D {
    const rows = ids.map((id) => ({ ids: [id] }));
    const batch = this.#batchOf(rows, cache);
    if (this.#outgrows(cache, rows)) {
      return tidy(() => this.#rowLogits(this.#forwardAnew(rows, cache, { cache })));
    }
    const step = (tokens: PassTokens) => this.step(tokens, cache);
    const logits = cache.step.forward(batch, this.#layersNow(), step) ?? step(batch);
    cache.advance(rows.map((row) => row.ids));
    return logits;
  }

  /**
   * The same where tokens and positions are kept by somebody else: the cache takes the keys and values, and
   * counts them only when it is told to `advance`.
   */
  step(tokens: PassTokens, cache: KvCache): Tensor2D {
    return tidy(() => this.#rowLogits(this.#run(tokens, { cache })));
  }

  /**
   * `forward` without a cache or gradients, letting signals and progress through after each layer: a long
   * text takes its time on a slow machine.
   */
  async forwardInTurns(rows: readonly TokenRow[]): Promise<Tensor3D> {
    const batch = new Batch(this.config, rows);
    const pass = { visibility: batch.visibility(), context: {} };
    let hidden = tidy(() => this.#embed(batch, {}));
    try {
      for (const block of this.#blocks) {
        const input = hidden;
        hidden = tidy(() => block.forward(input, pass));
        input.dispose();
        await nextTurn();
      }
      // A copy, for hidden itself may be the result.
      return tidy(() => this.#finish(hidden, {}).clone());
    } finally {
      dispose([hidden, ...tensorsOf(pass.visibility)]);
    }
  }

  /** [..., D] hidden states to [..., V] logits. */
  logits(hidden: Tensor): Tensor {
    return linearOf(this.#parts, HEAD).forward(hidden, {});
  }

  /** -log p(target) per row of [M, D] hidden states; 0 where the target is -1. */
  tokenLosses(hidden: Tensor2D, targets: Tensor1D): Tensor1D {
    return headLosses(linearOf(this.#parts, HEAD), hidden, targets);
  }

  /** How probable targets int32 [M] are by [M, D] hidden states. */
  tokenScores(hidden: Tensor2D, targets: Tensor1D): TokenScores {
    return headScores(linearOf(this.#parts, HEAD), hidden, targets);
  }

  /** Rows of hidden states that `tokenScores` should be asked for at once. */
  get scoredAtOnce(): number {
    return scoredAtOnce(linearOf(this.#parts, HEAD));
  }

  /** An empty cache for `batch` rows. */
  newCache(batch: number, dtype: KvDtype = 'f32'): KvCache {
    const { numLayers, numKvHeads, headSize } = this.config;
    return new KvCache({ batch, numLayers, numKvHeads, headSize, dtype });
  }

  /** Whether no value of the model can be trained. */
  get isFrozen(): boolean {
    const variables = [...this.#linears.values()].flatMap((linear) => linear.variables());
    return trainable([...this.parameters.values(), ...variables]).length === 0;
  }

  /**
   * A key for `kept` of what is recorded of the model: it is right on this backend, with these layers, adapters
   * among them, as long as their values are where they are.
   */
  keyOf(...what: readonly unknown[]): readonly unknown[] {
    const variables = [...this.#linears.values()].flatMap((linear) => linear.variables());
    const values = [...this.parameters.values(), ...variables].map(({ dataId }) => dataId);
    return [...what, backend(), ...this.#layersNow(), ...values];
  }

  /** Frees every tensor of the model; adapters free their own. */
  dispose(): void {
    this.kept.dispose();
    for (const value of this.#values.values()) value.dispose();
  }

  /** Logits of rows of one token. */
  #rowLogits(hidden: Tensor3D): Tensor2D {
    const [B, , D] = hidden.shape;
    return this.logits(reshape(hidden, [B, D])) as Tensor2D;
  }

  #batchOf(rows: readonly TokenRow[], cache: KvCache | undefined): Batch {
    if (cache && cache.lengths.length !== rows.length) {
      throw new LlmkitError(
        'shape',
        `decoder: expected ${cache.lengths.length} rows as in the cache, got ${rows.length}`,
      );
    }
    return new Batch(this.config, rows, cache?.lengths);
  }

  #layersNow(): readonly object[] {
    this.#layers ??= [...this.#linears.values(), ...this.#embeddings.values()];
    return this.#layers;
  }

  #run(tokens: PassTokens, { cache, checkpointing, context = {} }: ForwardOptions): Tensor3D {
    let hidden = this.#embed(tokens, context);
    const pass = () => ({ visibility: tokens.visibility(), context, cache });
    const shared = checkpointing ? undefined : pass();
    for (const block of this.#blocks) {
      const input = hidden;
      // A recomputed block makes its masks again: those of this scope are gone by then.
      hidden = shared
        ? tidy(() => block.forward(input, shared))
        : (checkpointed(
            (x) => block.forward(x as Tensor3D, pass()),
            [input, ...block.variables()],
          ) as Tensor3D);
      input.dispose();
    }
    return this.#finish(hidden, context);
  }

  #finish(hidden: Tensor3D, context: ForwardContext): Tensor3D {
    const normed = this.#finalNorm?.forward(hidden) ?? hidden;
    const projectOut = this.#linears.get(this.config.names.projectOut ?? '');
    return (projectOut?.forward(normed, context) ?? normed) as Tensor3D;
  }

  #embed(tokens: PassTokens, context: ForwardContext): Tensor3D {
    const { names, learnedPositions } = this.config;
    const embedded = this.#embedding(names.tokens).forward(tokens.idTensor());
    const projectIn = this.#linears.get(names.projectIn ?? '');
    const hidden = (projectIn?.forward(embedded, context) ?? embedded) as Tensor3D;
    if (!learnedPositions) return hidden;
    const rows = tokens.positionRows(learnedPositions.offset);
    return add(hidden, this.#embedding(names.positions ?? '').forward(rows));
  }

  #embedding(name: string): Embedding {
    const found = this.#embeddings.get(name);
    if (found !== undefined) return found;
    throw new LlmkitError('checkpoint', `decoder: there is no embedding '${name}'`);
  }

  #outgrows(cache: KvCache, rows: readonly TokenRow[]): boolean {
    const limit = this.config.rope?.lengthDependentBeyond ?? Number.POSITIVE_INFINITY;
    return rows.some((row, b) => {
      const past = cache.lengths[b] ?? 0;
      return past > 0 && past + row.ids.length > limit;
    });
  }

  #forwardAnew(rows: readonly TokenRow[], cache: KvCache, options: ForwardOptions): Tensor3D {
    const pasts = cache.lengths;
    const whole = rows.map(({ ids }, b) => ({
      ids: [...(cache.rows[b] ?? []), ...Array.from(ids)],
    }));
    const longest = rows.reduce((most, row) => Math.max(most, row.ids.length), 0);
    cache.truncate(0);
    return tidy(() => {
      const hidden = this.forward(whole, options);
      const width = hidden.shape[2];
      const added = rows.map(({ ids }, b) => {
        const part = slice(hidden, [b, pasts[b] ?? 0, 0], [1, ids.length, width]);
        return pad(part, [
          [0, 0],
          [0, longest - ids.length],
          [0, 0],
        ]);
      });
      return concat(added, 0);
    });
  }
}

function makeEmbeddings(parts: ModelParts): Map<string, Embedding> {
  const tables = specsOf(parts.config)
    .filter(({ role }) => role === 'embedding')
    .map(({ name }) => new TableEmbedding(moduleOf(name), matrixOf(parts, name)));
  return new Map(tables.map((table) => [table.name, table]));
}

function makeLinears(
  config: DecoderConfig,
  values: ReadonlyMap<string, ParameterValue>,
  computes: VariableComputes,
): Map<string, Linear> {
  const parts = { config, parameters: values, linears: new Map<string, Linear>() };
  const linears = specsOf(config)
    .filter(({ role }) => role === 'linear')
    .map(({ name, transposedOnDisk }) => {
      const module = moduleOf(name);
      const bias = vectorOf(parts, `${module}.bias`);
      return new DenseLinear({
        name: module,
        weight: matrixOf(parts, name),
        bias,
        transposedOnDisk,
        compute: computes.get(name),
      });
    });
  if (config.tiedHead) {
    const name = `${config.names.tokens}.weight`;
    const [weight, compute] = [matrixOf(parts, name), computes.get(name)];
    linears.push(new DenseLinear({ name: HEAD, weight, transposedOnDisk: false, compute }));
  }
  return new Map(linears.map((linear) => [linear.name, linear]));
}
