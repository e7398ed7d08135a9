import * as z from 'zod';

/** A number of bytes with a unit: `5GB`, `500 MB`, `2GiB`; without one, bytes. */
export const sizeSchema = z
  .string()
  .regex(/^\d+(\.\d+)?\s*([KMG]i?)?B?$/i, { error: 'expected a size such as 5GB or 500MB' });

/** `5GB` → 5e9, `5GiB` → 5 · 2^30. */
export function sizeInBytes(text: string): number {
  const [, number = '', unit = ''] = /^([\d.]+)\s*([KMG]?i?)B?$/i.exec(text) ?? [];
  const power = ' KMG'.indexOf(unit.charAt(0).toUpperCase() || ' ');
  return Math.round(Number(number) * (/i/i.test(unit) ? 1024 : 1000) ** power);
}
