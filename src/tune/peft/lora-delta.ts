import type { LoraModule } from './adapter-file.js';

/** scale · B A as [out, in], summed in float64 and rounded once. */
export function loraDelta(lora: Omit<LoraModule, 'bias'>): Float32Array {
  const delta = new Float32Array(lora.outFeatures * lora.inFeatures);
  addLoraDelta(delta, lora);
  return delta;
}

/** Adds scale · B A to a matrix [out, in] in place: the sum in float64, rounded once. */
export function addLoraDelta(weight: Float32Array, lora: Omit<LoraModule, 'bias'>): void {
  const { r, inFeatures, outFeatures, scale, a, b } = lora;
  const row = new Float64Array(inFeatures);
  for (let out = 0; out < outFeatures; out++) {
    row.fill(0);
    for (let k = 0; k < r; k++) {
      const factor = scale * (b[out * r + k] as number);
      const start = k * inFeatures;
      for (let i = 0; i < inFeatures; i++)
        row[i] = (row[i] as number) + factor * (a[start + i] as number);
    }
    const start = out * inFeatures;
    for (let i = 0; i < inFeatures; i++) {
      weight[start + i] = (weight[start + i] as number) + (row[i] as number);
    }
  }
}
