import { integerScheme } from '../integer-scheme.js';
import type { QuantScheme } from './scheme.js';

/** 8-bit integers with one scale, and on demand one zero point, per row or group of a row. */
export const int8: QuantScheme = integerScheme('int8', ['row']);
