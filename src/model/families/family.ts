import type { DecoderConfig } from '../config.js';
import type { ConfigReader } from '../config-reader.js';

/**
 * A model family is data: how its config.json maps onto the decoder's switches and tensor names. It
 * throws `unsupported` on a feature the decoder does not have, and never ignores one. Dropout rates of
 * the config are no feature of a decoder here: in training too, only adapters drop.
 */
export type ModelFamily = (hf: ConfigReader) => DecoderConfig;
