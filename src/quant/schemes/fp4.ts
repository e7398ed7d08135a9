import { FP4_TABLE } from '../../tensor/code-tables.js';
import { blockScheme } from '../block-scheme.js';
import type { QuantScheme } from './scheme.js';

/** 4-bit floats (sign, two bits of exponent, one of mantissa), as bitsandbytes stores them. */
export const fp4: QuantScheme = blockScheme('fp4', FP4_TABLE);
