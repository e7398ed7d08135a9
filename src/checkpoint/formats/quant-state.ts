import { LlmkitError } from '../../errors.js';

/** dtype of the weights before quantization, as PyTorch names it. */
export type TorchDtype = 'float32' | 'float16' | 'bfloat16';

/** What bitsandbytes' quant_state tensor says: UTF-8 JSON made by Python's json.dumps. */
export interface QuantState {
  readonly quantType: 'nf4' | 'fp4';
  readonly blockSize: number;
  readonly dtype: string;
  readonly shape: readonly [number, number];
  /** Of double-quantized scales. */
  readonly nested?: { readonly blockSize: number; readonly offset: number } | undefined;
}

const MAX_BYTES = 4096;

/** The bytes of a quant_state tensor. */
export function quantStateJson(state: QuantState): Uint8Array {
  const { quantType, blockSize, dtype, shape, nested } = state;
  const fields = [
    `"quant_type": "${quantType}"`,
    `"blocksize": ${blockSize}`,
    `"dtype": "${dtype}"`,
    `"shape": [${shape.join(', ')}]`,
  ];
  if (nested) {
    fields.push(`"nested_blocksize": ${nested.blockSize}`, '"nested_dtype": "float32"');
    fields.push(`"nested_offset": ${pythonFloat(nested.offset)}`);
  }
  return new TextEncoder().encode(`{${fields.join(', ')}}`);
}

/** A float as Python's repr() writes it: both languages give the shortest digits, in other notations. */
function pythonFloat(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude !== 0 && (magnitude < 1e-4 || magnitude >= 1e16)) {
    const [digits, exponent = ''] = value.toExponential().split('e');
    return `${digits}e${exponent.slice(0, 1)}${exponent.slice(1).padStart(2, '0')}`;
  }
  return Number.isInteger(value) ? `${value}.0` : `${value}`;
}

/**
 * Reads a quant_state tensor.
 *
 * @param name of the tensor, for messages
 */
export function readQuantState(bytes: Uint8Array, name: string): QuantState {
  const fields = parse(bytes, name);
  const { quant_type: quantType, blocksize: blockSize, dtype, shape } = fields;
  if (quantType !== 'nf4' && quantType !== 'fp4') {
    throw new LlmkitError(
      'unsupported',
      `${name}: expected quant_type nf4 or fp4, got ${quantType}`,
    );
  }
  if (!isSize(blockSize)) return refuse(name, `expected a blocksize, got ${blockSize}`);
  const [rows, cols, ...rest] = Array.isArray(shape) ? shape : [];
  if (!isSize(rows) || !isSize(cols) || rest.length > 0) {
    return refuse(name, `expected the shape of a matrix, got ${JSON.stringify(shape)}`);
  }
  const nested = readNested(fields, name);
  return { quantType, blockSize, dtype: String(dtype), shape: [rows, cols], nested };
}

function readNested(fields: Record<string, unknown>, name: string): QuantState['nested'] {
  const { nested_blocksize: blockSize, nested_offset: offset } = fields;
  if (blockSize === undefined) return undefined;
  if (!isSize(blockSize) || typeof offset !== 'number') {
    return refuse(
      name,
      `expected numbers nested_blocksize and nested_offset, got ${blockSize}, ${offset}`,
    );
  }
  return { blockSize, offset };
}

function parse(bytes: Uint8Array, name: string): Record<string, unknown> {
  if (bytes.length > MAX_BYTES) {
    return refuse(name, `expected at most ${MAX_BYTES} bytes, got ${bytes.length}`);
  }
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    return refuse(name, (error as Error).message);
  }
  return refuse(name, 'expected a JSON object');
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function refuse(name: string, problem: string): never {
  throw new LlmkitError('checkpoint', `${name}: not a sound quant_state: ${problem}`);
}
