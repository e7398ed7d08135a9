/** Rotary positions: which angles, and how they are stretched beyond the length of pretraining. */
export interface RopeConfig {
  /** The rotated leading dimensions of each head. */
  readonly size: number;
}
