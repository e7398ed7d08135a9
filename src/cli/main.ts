import nodeModule from 'node:module';
import { VERSION } from '../workflows/version.js';

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // The reader has gone (`| head`): nobody is left to read, and nothing went wrong.
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

/** The version is printed before anything else is loaded. */
async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === '--version' || argv[0] === '-V') {
    process.stdout.write(`${VERSION}\n`);
    return 0;
  }
  // From Node 22 on, compiled code is kept from one run to the next.
  (nodeModule as { enableCompileCache?: () => void }).enableCompileCache?.();
  const { run } = await import('./run.js');
  return run(argv);
}

const code = await main(process.argv.slice(2));
process.stdout.write('', () => process.exit(code));
