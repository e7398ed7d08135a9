import { attention, cachedAttention, type Held, rope, viewAs } from '../tensor/ops/index.js';
import {
  split,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
  type Variable,
} from '../tensor/tfjs.js';
import type { Visibility } from './batch.js';
import {
  computeOfLinear,
  type ForwardContext,
  forwardAll,
  forwardOnto,
  heldIn,
  type Linear,
} from './linear.js';
import { linearOf, type ModelParts, type Pass } from './modules.js';
import { Norm } from './norm.js';

/** Self-attention of one layer: projections, per-head norms, rotary positions, cache. */
export class Attention {
  readonly #parts: ModelParts;
  readonly #layer: number;
  readonly #qkv: readonly string[];
  readonly #out: string;
  readonly #headNorms: readonly [Norm, Norm] | undefined;

  constructor(parts: ModelParts, layer: number) {
    const { names, qkNorm, norm } = parts.config;
    const path = (name: string) => `${names.layers}.${layer}.${name}`;
    this.#parts = parts;
    this.#layer = layer;
    this.#qkv = names.qkv.map(path);
    this.#out = path(names.attentionOut);
    if (!qkNorm || !names.queryNorm || !names.keyNorm) return;
    this.#headNorms = [
      new Norm(parts, path(names.queryNorm), norm),
      new Norm(parts, path(names.keyNorm), norm),
    ];
  }

  /** @returns residual + attention of x, [B, T, D] */
  forward(x: Tensor3D, residual: Tensor3D, { visibility, context, cache }: Pass): Tensor3D {
    const { config } = this.#parts;
    let [q, k, v] = this.#project(x, context);
    const held = this.held(context);
    if (this.#headNorms) {
      [q, k] = [this.#headNorms[0].forward(q, held), this.#headNorms[1].forward(k, held)];
    }
    const { angles, last, positions, tables } = visibility;
    const first = visibility.firsts.get(config.windows[this.#layer]) as Tensor2D;
    const scale = config.attentionScales[this.#layer] ?? 1;
    // Keys and queries are no more exact than the products that make them.
    const compute = computeOfLinear(linearOf(this.#parts, this.#qkv[0] as string));
    const options = { first, last, scale, compute };
    const mixed = cache
      ? cachedAttention(
          cache.layer(this.#layer),
          { q, k, v },
          {
            ...options,
            angles,
            positions: positions ?? cache.positions,
            table: tables?.[this.#layer],
          },
        )
      : attention(turned(q, angles, held), turned(k, angles, held), v, {
          ...options,
          training: context.training,
          held,
        });
    const [B, T, H, E] = mixed.shape;
    const out = linearOf(this.#parts, this.#out);
    return forwardOnto(residual, out, viewAs(mixed, [B, T, H * E]), context);
  }

  /** How the input of this part is held, and what is made of it before the residual. */
  held(context: ForwardContext): Held {
    return heldIn(context, this.#projections());
  }

  #projections(): readonly Linear[] {
    return this.#qkv.map((name) => linearOf(this.#parts, name));
  }

  variables(): readonly Variable[] {
    const linears = [...this.#qkv, this.#out].map((name) => linearOf(this.#parts, name));
    return [...linears, ...(this.#headNorms ?? [])].flatMap((module) => module.variables());
  }

  /** Queries [B, T, H, E], keys and values [B, T, K, E]. */
  #project(x: Tensor3D, context: Pass['context']): [Tensor4D, Tensor4D, Tensor4D] {
    const { numHeads: H, numKvHeads: K, headSize: E } = this.#parts.config;
    const made = forwardAll(this.#projections(), x, context);
    const parts = made.length === 1 ? split(made[0] as Tensor, [H * E, K * E, K * E], 2) : made;
    const [B, T] = x.shape;
    const heads = (part: Tensor | undefined, count: number) =>
      viewAs<Tensor4D>(part as Tensor, [B, T, count, E]);
    return [heads(parts[0], H), heads(parts[1], K), heads(parts[2], K)];
  }
}

/** Rotary positions, where the model has them. */
function turned(x: Tensor4D, angles: Visibility['angles'], held: Held): Tensor4D {
  return angles ? rope(x, angles.cos, angles.sin, held) : x;
}
