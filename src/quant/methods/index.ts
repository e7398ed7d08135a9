import type { QuantMethod } from './method.js';
import { rtn } from './rtn.js';

/** The methods, by name. The only place a method is listed. */
export const methods: Readonly<Record<string, QuantMethod>> = { rtn };
