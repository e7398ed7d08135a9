import type { DeviceAddon } from '../../src/tensor/backends/addon-device.js';

/**
 * How often something is done to see whether its bits are always the same: LLMKIT_RUNS times, or a hundred times on a
 * GPU, whose blocks end in another order each time, and three on the emulated device, where they do not. As
 * kernels/cuda/testing/repeat.h.
 */
export function runsOn(addon: DeviceAddon): number {
  const { LLMKIT_RUNS } = process.env;
  if (LLMKIT_RUNS !== undefined) return Number(LLMKIT_RUNS);
  return addon.deviceInfo().emulated ? 3 : 100;
}
