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

/** float32 values where an addon's functions find them. */
export type Floats = Float32Array | DeviceFloats;

/** int32 values where an addon's functions find them. */
export type Ints = Int32Array | DeviceInts;
