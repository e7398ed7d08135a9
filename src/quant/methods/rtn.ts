import type { QuantMethod } from './method.js';

/** Round to nearest: every weight takes the closest value of its group's grid. */
export const rtn: QuantMethod = (scheme, values, shape, options) =>
  scheme.encode(values, shape, scheme.grid(values, options), options);
