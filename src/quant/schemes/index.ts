import { fp4 } from './fp4.js';
import { int4 } from './int4.js';
import { int8 } from './int8.js';
import { nf4 } from './nf4.js';
import type { QuantScheme } from './scheme.js';

/** The schemes, by the name users type. The only place a scheme is listed. */
export const schemes: Readonly<Record<string, QuantScheme>> = { nf4, fp4, int4, int8 };
