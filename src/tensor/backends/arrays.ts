/** float32 values in the memory of a GPU. */
export interface DeviceFloats {
  readonly length: number;
  readonly __llmkitFloats: never;
}

/** int32 values in the memory of a GPU. */
export interface DeviceInts {
  readonly length: number;
  readonly __llmkitInts: never;
}

/**
 * Activations where an addon's functions find them: float32, or the 16 bits of bf16 where they are held so. On a
 * GPU the array itself knows which.
 */
export type Elements<F extends Floats> = F | (F extends Float32Array ? Uint16Array : never);

/** float32 values where an addon's functions find them. */
export type Floats = Float32Array | DeviceFloats;

/** int32 values where an addon's functions find them. */
export type Ints = Int32Array | DeviceInts;
