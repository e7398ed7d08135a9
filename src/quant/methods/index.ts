import type { QuantMethod } from './method.js';
import { rtn } from './rtn.js';
import { search } from './search.js';

/**
 * The methods, by name. The only place a method is listed; the native kernels have those too
 * (kernels/cpu/quantize/quantize.h).
 */
export const methods = { rtn, search } as const satisfies Readonly<Record<string, QuantMethod>>;

/** A name of `methods`. */
export type MethodName = keyof typeof methods;

/** The names, as users type them. */
export const methodNames = Object.keys(methods) as [MethodName, ...MethodName[]];
