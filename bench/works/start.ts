import { join } from 'node:path';
import type { BenchContext } from '../context.js';
import { runProgram } from '../llmkit/run.js';
import { runChild } from '../measure/child.js';
import { median } from '../measure/median.js';
import type { Work } from '../measure/work.js';

const REPETITIONS = 5;

/** Node.js 20 reads the certificates that this names at every start, whatever it runs: 50 ms. */
const NO_CERTIFICATES = { NODE_EXTRA_CA_CERTS: undefined };

/** How long it takes until something is printed. */
export function startWorks(context: BenchContext): Work[] {
  const model = join(context.root, 'fixtures', 'models', 'tales-2m');
  const prompt = ['--prompt', 'One day', '--max-new-tokens', '32', '--temperature', '0'];
  const start = 'start of llmkit --version beside node -e 0';
  const first = 'first text of generate, bundled model';
  return [
    {
      name: start,
      threads: 1,
      metrics: [{ key: 'ms', work: start, unit: 'ms', better: 'lower' }],
      async open() {
        const seconds = async (run: () => Promise<{ seconds: number }>) => (await run()).seconds;
        const version = () => runProgram(context, ['--version'], NO_CERTIFICATES);
        const empty = () => runChild(process.execPath, ['-e', '0'], NO_CERTIFICATES);
        return [
          { name: 'llmkit', measure: () => milliseconds(() => seconds(version)) },
          { name: 'node -e 0', measure: () => milliseconds(() => seconds(empty)) },
        ];
      },
    },
    {
      name: first,
      threads: 1,
      metrics: [{ key: 'ms', work: first, unit: 'ms', better: 'lower' }],
      async open() {
        const generate = () => runProgram(context, ['generate', model, ...prompt], NO_CERTIFICATES);
        const seconds = async () => (await generate()).firstOutputSeconds ?? 0;
        return [{ name: 'llmkit', measure: () => milliseconds(seconds) }];
      },
    },
  ];
}

/** The median of a few starts: one is too short to be told from the noise. */
async function milliseconds(run: () => Promise<number>): Promise<{ ms: number }> {
  const values: number[] = [];
  for (let i = 0; i < REPETITIONS; i++) values.push(1000 * (await run()));
  return { ms: median(values) };
}
