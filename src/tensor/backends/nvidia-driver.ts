import { readFileSync } from 'node:fs';

/** Where NVIDIA's driver says what it is; Linux alone has it. */
const VERSION_FILE = '/proc/driver/nvidia/version';

/** Version of NVIDIA's driver, '580.65.06'; undefined where the system does not say. */
export function nvidiaDriver(file: string = VERSION_FILE): string | undefined {
  try {
    return /\s(\d{3,}(?:\.\d+)+)\s/.exec(readFileSync(file, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
