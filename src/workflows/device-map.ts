import * as z from 'zod';
import { activationBytes } from '../model/activation-bytes.js';
import type { DecoderConfig } from '../model/config.js';
import type { LoadOptions } from '../model/load.js';
import { sizeInBytes, sizeSchema } from './byte-size.js';

/** Keys of a configuration that say what of a model goes to a GPU. */
export const deviceMapShape = {
  device_map: z.enum(['auto']).optional(),
  max_memory: sizeSchema.optional(),
};

/** Flags of those keys. */
export const deviceMapFlags = {
  device_map: {
    value: 'MAP',
    description: 'layers that do not fit on the GPU stay on the host',
  },
  max_memory: { value: 'SIZE', description: 'GPU memory to use at most, e.g. 8GB' },
};

/** What a workflow is told of them. */
export interface DeviceMapOptions {
  /** Layers that do not fit into the GPU's memory stay on the host and visit it. */
  readonly deviceMap?: 'auto' | undefined;
  /** GPU memory to use at most, in bytes; left out: what is free. */
  readonly maxMemory?: number | undefined;
  /** Told where the layers are. */
  readonly onNote?: ((text: string) => void) | undefined;
}

/** The options of a configuration. */
export function deviceMapOf(
  { device_map, max_memory }: z.output<z.ZodObject<typeof deviceMapShape>>,
  onNote?: (text: string) => void,
): DeviceMapOptions {
  const maxMemory = max_memory === undefined ? undefined : sizeInBytes(max_memory);
  return { deviceMap: device_map, maxMemory, onNote };
}

/** How to load a model by them. @param workingBytes GPU memory for all but the weights */
export function placementOf(
  { deviceMap, onNote }: DeviceMapOptions,
  workingBytes: (config: DecoderConfig) => number = inferenceBytes,
): Pick<LoadOptions, 'placement'> {
  if (deviceMap === undefined) return {};
  const onPlaced = ({ onDevice, onHost }: { onDevice: number; onHost: number }) =>
    onNote?.(`device map: ${onDevice} layers on the GPU, ${onHost} on the host`);
  return { placement: { workingBytes, onPlaced } };
}

const FLOAT_BYTES = 4;
/**
 * Tokens of a conversation, of one forward pass, and of those whose logits are wanted at once. Passes of a prompt are
 * longer where there is memory.
 */
const CONTEXT_TOKENS = 4096;
const PASS_TOKENS = 512;
const LOGIT_TOKENS = 64;

/** Keys and values of a usual conversation and the activations of one forward pass. */
function inferenceBytes(config: DecoderConfig): number {
  const { vocabSize: V, numLayers, maxLength } = config;
  const keys = 2 * numLayers * config.numKvHeads * config.headSize;
  const tokens = Math.min(maxLength, CONTEXT_TOKENS);
  const pass = Math.min(maxLength, PASS_TOKENS) * activationBytes(config);
  return FLOAT_BYTES * (keys * tokens + LOGIT_TOKENS * V) + pass;
}
