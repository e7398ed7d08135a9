import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { DeviceInfo } from './addon-device.js';
import type { LoadedCuda } from './cuda.js';

/** That the tests passed with one build of the GPU's addon on one kind of GPU, as scripts/test-cuda.js notes it. */
interface TestRecord {
  readonly addon_sha256: string;
  /** 'NVIDIA H200' */
  readonly gpu: string;
  readonly compute_capability: string;
  readonly driver_cuda: string;
  /** ISO 8601. */
  readonly tested_at: string;
}

/** Beside the addon. */
function recordPath(addonPath: string): string {
  return addonPath.replace(/\.node$/, '.tested.json');
}

/** When the tests passed with this build on a GPU like this; undefined where they never have. */
export function testedAt({
  path,
  device,
}: Pick<LoadedCuda, 'path' | 'device'>): string | undefined {
  const records = readRecords(path);
  if (records.length === 0) return undefined;
  const sha256 = sha256Of(path);
  return records.find((record) => isOf(record, sha256, device))?.tested_at;
}

/** Whether the tests ever passed with this build, on whatever GPU. */
export function everTested(path: string): boolean {
  const records = readRecords(path);
  if (records.length === 0) return false;
  const sha256 = sha256Of(path);
  return records.some((record) => record.addon_sha256 === sha256);
}

function isOf(record: TestRecord, sha256: string, device: DeviceInfo): boolean {
  return (
    record.addon_sha256 === sha256 &&
    record.gpu === device.name &&
    record.compute_capability === device.computeCapability
  );
}

function readRecords(addonPath: string): readonly TestRecord[] {
  try {
    const records: unknown = JSON.parse(readFileSync(recordPath(addonPath), 'utf8'));
    return Array.isArray(records) ? records : [];
  } catch {
    return [];
  }
}

function sha256Of(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
