import * as tf from '../tfjs.js';
import type { Weight, WeightForm } from '../weight.js';
import type { PackedForm } from './addon.js';
import { NativeBackend } from './native-backend.js';

export type { PackedForm } from './addon.js';

/** What a backend that packs weights can do with packed ones. */
export interface PackedWeights {
  /** The version of its layout: bytes of another one mean something else. */
  readonly layout: number;
  /** What a packed weight is made of, the bytes copied. */
  partsOf(weight: Weight): { readonly form: PackedForm; readonly bytes: Uint8Array };
  /**
   * The backend's form of a weight whose packed bytes these are.
   *
   * @throws RangeError when they are not in this form
   */
  use(form: PackedForm, bytes: Uint8Array): WeightForm;
}

/** Packed weights of the backend in use; undefined where it packs none. */
export function packedWeights(): PackedWeights | undefined {
  const backend = tf.backend();
  if (!(backend instanceof NativeBackend)) return undefined;
  const { addon } = backend;
  return {
    layout: addon.packedLayout(),
    partsOf: (weight) => addon.packedParts(backend.weight(weight)),
    use: (form, bytes) => backend.formOf(addon.usePacked(form, bytes)),
  };
}
