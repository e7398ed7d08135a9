import * as usedNames from './used-names.js';

/** tfjs-core for the package, with a base class that its ES5 classes can call as a function. */
export function coreForPackage(): object {
  const { kernelNames, KernelBackend: Base, ...functions } = usedNames;
  function KernelBackend() {}
  KernelBackend.prototype = Base.prototype;
  return { ...kernelNames, ...functions, KernelBackend };
}
