import { NF4_TABLE } from '../../tensor/code-tables.js';
import { blockScheme } from '../block-scheme.js';
import type { QuantScheme } from './scheme.js';

/**
 * 4-bit NormalFloat: w ≈ value[code] · absmax of a block, as bitsandbytes stores it.
 *
 * @see https://arxiv.org/abs/2305.14314
 */
export const nf4: QuantScheme = blockScheme('nf4', NF4_TABLE);
