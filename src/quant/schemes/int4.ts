import { integerScheme } from '../integer-scheme.js';
import type { QuantScheme } from './scheme.js';

/** 4-bit integers with one scale, and on demand one zero point, per group of a row. */
export const int4: QuantScheme = integerScheme('int4', [128, 64, 32]);
