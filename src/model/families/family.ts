import type { DecoderConfig } from '../config.js';
import type { ConfigReader } from '../config-reader.js';

/**
 * A model family is data: how its config.json maps onto the decoder's switches, tensor names included.
 * It throws `unsupported` on a feature the decoder does not have, never ignores it. Dropout rates are
 * ignored: they are 0 in fine-tuning and inference of every model that is published.
 */
export type ModelFamily = (hf: ConfigReader) => DecoderConfig;
