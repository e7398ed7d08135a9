// `npm run bench -- cpu` and `-- cuda`: llmkit beside its peers and the machine's limits, in turns.
import { cpus } from 'node:os';
import { join } from 'node:path';
import { gpuIsThere } from '../src/tensor/backends/device-choice.js';
import { VERSION } from '../src/workflows/version.js';
import type { BenchContext } from './context.js';
import { cudaWorks, runCuda } from './cuda/run.js';
import { interleave, type Runs } from './measure/interleave.js';
import { buildLimits, type Limits, type LimitsProgram } from './measure/limits.js';
import { hostProbe } from './measure/probe.js';
import type { Work } from './measure/work.js';
import { openModelCache } from './models/cache.js';
import { type BenchOptions, parseOptions, USAGE } from './options.js';
import { findPeers, NO_PEERS } from './peers/index.js';
import { appendHistory, type Report, reportOptions, writeRows } from './report/history.js';
import { type Row, rowsOf } from './report/rows.js';
import { tableOf } from './report/table.js';
import { allWorks } from './works/index.js';

const ROOT = process.cwd();

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  const cuda = options.benchmark === 'cuda';
  if (cuda && !options.list && !gpuIsThere()) {
    process.stdout.write('skipped: no CUDA device\n');
    return;
  }
  const context: BenchContext = {
    options,
    root: ROOT,
    models: openModelCache(ROOT, options.cache),
    peers: options.peers && !options.list ? await findPeers(ROOT, leftOut) : NO_PEERS,
    text: join(ROOT, 'fixtures', 'data', 'tales-heldout.txt'),
  };
  const works = cuda
    ? cudaWorks(context, [options.shape, ...options.furtherShapes])
    : allWorks(context).filter(({ name }) => options.only.test(name));
  if (options.list) {
    for (const { name } of works) process.stdout.write(`${name}\n`);
    return;
  }
  if (cuda) {
    await reportCuda(context);
    return;
  }
  const machine = await measureMachine(options.threads);
  const rows = await measureAll(works, options.rounds, machine);
  const report = reportOf(options, rows, machine.limits);
  process.stdout.write(`\n${headline(report)}\n\n${tableOf(rows)}`);
  if (options.json !== undefined) writeRows(options.json, report);
  // A quick run is a check of the benchmark, not a measurement.
  if (!options.quick) appendHistory(join(ROOT, 'bench', 'history.jsonl'), report);
}

async function reportCuda(context: BenchContext): Promise<void> {
  const { options } = context;
  const { device, shapes, rows } = await runCuda(context, note);
  const report: Report = {
    ...reportOf(options, rows, undefined),
    options: reportOptions(options, shapes),
    gpu: device.device,
  };
  const limits = `copy ${device.copy} GB/s · bf16 product ${device.matrix} TFLOP/s`;
  process.stdout.write(`\n${device.device}\nlimits: ${limits}\n\n${tableOf(rows)}`);
  if (options.json !== undefined) writeRows(options.json, report);
  if (!options.quick) appendHistory(join(ROOT, 'bench', 'history.jsonl'), report);
}

function leftOut(why: string): void {
  note(`left out: ${why}`);
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** What bounds the works; nothing where the program cannot be built. */
interface Machine {
  readonly program: LimitsProgram | undefined;
  readonly limits: Limits | undefined;
}

async function measureMachine(threads: readonly number[]): Promise<Machine> {
  try {
    const program = await buildLimits(ROOT);
    return { program, limits: await program.all(threads) };
  } catch (error) {
    note(`no limits: ${(error as Error).message}`);
    return { program: undefined, limits: undefined };
  }
}

async function measureAll(
  works: readonly Work[],
  rounds: number,
  { program, limits }: Machine,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const work of works) {
    note(work.name);
    const runs = await runWork(work, rounds, program);
    for (const { error } of runs) if (error !== undefined) leftOut(error);
    const found = rowsOf(work, runs, limits?.[work.threads]);
    note(tableOf(found));
    rows.push(...found);
  }
  return rows;
}

/** A work that llmkit cannot do is said, and the others are still measured. */
async function runWork(
  work: Work,
  rounds: number,
  program: LimitsProgram | undefined,
): Promise<Runs[]> {
  try {
    return await interleave(await work.open(), { rounds, probe: await hostProbe(work, program) });
  } catch (error) {
    note(`failed: ${(error as Error).message}`);
    process.exitCode = 1;
    return [];
  }
}

function reportOf(options: BenchOptions, rows: readonly Row[], limits: Limits | undefined): Report {
  const [first] = cpus();
  return {
    date: new Date().toISOString(),
    cpu: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    llmkit: VERSION,
    options: reportOptions(options, [options.shape]),
    limits: limits ?? null,
    rows,
  };
}

function headline({ cpu, cores, limits }: Report): string {
  const lines = Object.entries(limits ?? {}).map(([threads, peaks]) => {
    const figures = Object.entries(peaks).map(([name, value]) => `${name} ${value}`);
    return `limits, ${threads} threads (GB/s, then 1e9 operations per second): ${figures.join(' · ')}`;
  });
  return [`${cpu}, ${cores} cores`, ...lines].join('\n');
}

try {
  await main();
} catch (error) {
  note(`bench: ${(error as Error).message}\n\n${USAGE}`);
  process.exitCode = 1;
}
