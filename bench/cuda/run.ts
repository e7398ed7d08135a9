import type { BenchContext } from '../context.js';
import { interleave } from '../measure/interleave.js';
import { buildLimits } from '../measure/limits.js';
import { fileProbe } from '../measure/probe.js';
import type { Work } from '../measure/work.js';
import type { Shape } from '../models/shape.js';
import { type Row, rowsOf } from '../report/rows.js';
import { tableOf } from '../report/table.js';
import { adapterWorks, fullTrainingWork } from '../works/training.js';
import { type DeviceReport, type KernelRow, measureDevice, peaksOf } from './device.js';
import { openPyTorchCuda, type PyTorchCuda } from './pytorch.js';
import { roomFor, shapesWithRoom } from './room.js';
import { modelWorks } from './works.js';

/** The works of whole models, of every shape, and those that have a shape of their own. */
export function cudaWorks(
  context: BenchContext,
  shapes: readonly Shape[],
  pyTorch?: PyTorchCuda,
): Work[] {
  const works = shapes.flatMap((shape) => {
    const one = { ...context, options: { ...context.options, shape } };
    return [...modelWorks(one, pyTorch), ...adapterWorks(one)];
  });
  const { only } = context.options;
  return [...works, fullTrainingWork(context)].filter(({ name }) => only.test(name));
}

/**
 * Measures the GPU's limits and kernels, then whole models beside their peers, all in one run.
 *
 * @param note told what is done, and what is left out
 * @returns the GPU, the shapes that had room, and the rows
 */
export async function runCuda(
  context: BenchContext,
  note: (text: string) => void,
): Promise<{ device: DeviceReport; shapes: Shape[]; rows: Row[] }> {
  const device = await measureDevice(context.root, context.options.only.source);
  // The programs that are measured are processes of their own.
  process.env.LLMKIT_DEVICE = 'cuda';
  const pyTorch = await openPyTorchCuda(context.root, note).catch((error: Error) => {
    note(`left out: PyTorch: ${error.message.split('\n').at(-1)}`);
    return undefined;
  });
  const program = await buildLimits(context.root).catch((error: Error) => {
    note(`no limit of reading files: ${error.message}`);
    return undefined;
  });
  const shapes = shapesWithRoom(context, roomFor(context.models.folder, device), note);
  const rows = device.rows.map(rowOfKernel);
  for (const work of cudaWorks(context, shapes, pyTorch)) {
    note(work.name);
    try {
      const contenders = await work.open();
      const probe = await fileProbe(work, program);
      const runs = await interleave(contenders, { rounds: context.options.rounds, probe });
      for (const { error } of runs) if (error !== undefined) note(`left out: ${error}`);
      const found = rowsOf(work, runs, peaksOf(device));
      note(tableOf(found));
      rows.push(...found);
    } catch (error) {
      note(`failed: ${(error as Error).message}`);
      process.exitCode = 1;
    }
  }
  return { device, shapes, rows };
}

function rowOfKernel({ work, unit, value, limit }: KernelRow): Row {
  return {
    ...{ work, unit, llmkit: value, peers: {}, ratio: {} },
    limit: limit ?? null,
    share_of_limit: limit === undefined ? null : value / limit,
  };
}
