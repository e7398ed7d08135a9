import { execFileSync } from 'node:child_process';

/** Builds dist once, if it is stale, unless the run was narrowed to tests that do not need it. */
export default function setup(): void {
  const chosen = process.argv.slice(2).filter((word) => word.includes('test/'));
  if (chosen.length > 0 && !chosen.some((path) => path.includes('e2e'))) return;
  execFileSync(process.execPath, ['scripts/build.js', '--if-stale', '--no-types'], {
    stdio: 'inherit',
  });
}
