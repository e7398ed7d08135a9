/** Codes of a [rows, cols] matrix. */
export interface CodeShape {
  readonly rows: number;
  readonly cols: number;
  readonly bits: 4 | 8;
}

/** Bytes of `count` codes padded to whole 32-bit words. */
function wordBytes(count: number, bits: number): number {
  return Math.ceil((count * bits) / 32) * 4;
}

function codeAt(bytes: Uint8Array, index: number, bits: 4 | 8): number {
  if (bits === 8) return bytes[index] as number;
  return ((bytes[index >> 1] as number) >> ((index & 1) * 4)) & 15;
}

/** Sets a code in zeroed bytes. */
function putCode(bytes: Uint8Array, index: number, { bits, code }: { bits: 4 | 8; code: number }) {
  if (bits === 8) bytes[index] = code;
  else bytes[index >> 1] = (bytes[index >> 1] as number) | (code << ((index & 1) * 4));
}

/** Whether rows in 32-bit words and rows one after another are the same bytes. */
function isDense({ cols, bits }: CodeShape): boolean {
  return (cols * bits) % 32 === 0;
}

/** Rows padded to 32-bit words → rows one after another; the same bytes where no padding is needed. */
export function unpackRows(packed: Uint8Array, shape: CodeShape): Uint8Array {
  if (isDense(shape)) return packed;
  const { rows, cols, bits } = shape;
  const codes = new Uint8Array(Math.ceil((rows * cols * bits) / 8));
  const rowCodes = (wordBytes(cols, bits) * 8) / bits;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const code = codeAt(packed, row * rowCodes + col, bits);
      putCode(codes, row * cols + col, { bits, code });
    }
  }
  return codes;
}

/** Rows one after another → rows padded to 32-bit words. */
export function packRows(codes: Uint8Array, shape: CodeShape): Uint8Array {
  if (isDense(shape)) return codes;
  const { rows, cols, bits } = shape;
  const packed = new Uint8Array(rows * wordBytes(cols, bits));
  const rowCodes = (wordBytes(cols, bits) * 8) / bits;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const code = codeAt(codes, row * cols + col, bits);
      putCode(packed, row * rowCodes + col, { bits, code });
    }
  }
  return packed;
}

/** Codes packed along the rows of each column into words [⌈rows · bits / 32⌉, cols] → one byte per code, row-major. */
export function unpackColumns(packed: Uint8Array, { rows, cols, bits }: CodeShape): Uint8Array {
  const perWord = 32 / bits;
  const codes = new Uint8Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    const word = Math.floor(row / perWord);
    for (let col = 0; col < cols; col++) {
      codes[row * cols + col] = codeAt(
        packed,
        (word * cols + col) * perWord + (row % perWord),
        bits,
      );
    }
  }
  return codes;
}

/** The inverse of unpackColumns. */
export function packColumns(codes: Uint8Array, { rows, cols, bits }: CodeShape): Uint8Array {
  const perWord = 32 / bits;
  const packed = new Uint8Array(wordBytes(rows, bits) * cols);
  for (let row = 0; row < rows; row++) {
    const word = Math.floor(row / perWord);
    for (let col = 0; col < cols; col++) {
      const code = codes[row * cols + col] as number;
      putCode(packed, (word * cols + col) * perWord + (row % perWord), { bits, code });
    }
  }
  return packed;
}
