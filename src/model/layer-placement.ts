import type { DeviceMemory } from '../tensor/backends/device-memory.js';
import type { Weight } from '../tensor/weight.js';
import type { DecoderConfig } from './config.js';
import type { ParameterSpec } from './layout.js';

/** Where the layers of a model are. */
export interface Placed {
  readonly onDevice: number;
  /** They visit the device, each ahead of its use. */
  readonly onHost: number;
}

/** What else the device's memory has to hold, in bytes. */
export interface MemoryNeeds {
  /** Keys and values, activations, what is trained. */
  readonly working: number;
  /** Weights that belong to no layer and are not there yet. */
  readonly outside: number;
}

/** Layers on the host visit one of two places, so that one is computed while the next one comes. */
const PLACES = 2;

/**
 * Places frozen weights as they are loaded, layer by layer: on the device as long as all else fits beside them, then
 * on the host. What belongs to no layer is always on the device.
 */
export class LayerPlacement {
  readonly #memory: DeviceMemory;
  readonly #config: DecoderConfig;
  readonly #needs: MemoryNeeds;
  /** The layer that is being loaded, its weights, and what was free before it. */
  #layer = -1;
  #weights: Weight[] = [];
  #freeBefore = 0;
  #onDevice = 0;
  #onHost = 0;

  constructor(memory: DeviceMemory, config: DecoderConfig, needs: MemoryNeeds) {
    this.#memory = memory;
    this.#config = config;
    this.#needs = needs;
  }

  /** Places a weight that has just been read; they come in the order of the forward pass. */
  add(spec: ParameterSpec, weight: Weight): void {
    const layer = layerOf(spec, this.#config);
    if (layer !== this.#layer) this.finish();
    if (this.#weights.length === 0) this.#freeBefore = this.#memory.freeBytes();
    this.#layer = layer;
    this.#memory.hold(weight);
    // Rows are read of the stored bytes, whatever products read.
    if (spec.role === 'embedding') this.#memory.hold(weight.stored);
    if (layer < 0) return;
    if (this.#onHost > 0) this.#memory.keepOnHost(weight, layer);
    this.#weights.push(weight);
  }

  /** Decides about the last layer. */
  finish(): Placed {
    const weights = this.#weights;
    this.#weights = [];
    if (weights.length > 0) this.#decide(weights);
    return { onDevice: this.#onDevice, onHost: this.#onHost };
  }

  #decide(weights: readonly Weight[]): void {
    if (this.#onHost > 0) {
      this.#onHost++;
      return;
    }
    const free = this.#memory.freeBytes();
    const isLast = this.#layer === this.#config.numLayers - 1;
    const places = isLast ? 0 : PLACES * (this.#freeBefore - free);
    if (free >= this.#needs.working + this.#needs.outside + places) {
      this.#onDevice++;
      return;
    }
    for (const weight of weights) this.#memory.keepOnHost(weight, this.#layer);
    this.#onHost++;
  }
}

/** The layer that a parameter belongs to; -1 for what belongs to none. */
export function layerOf({ name }: ParameterSpec, { names }: DecoderConfig): number {
  const prefix = `${names.layers}.`;
  return name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length), 10) : -1;
}
