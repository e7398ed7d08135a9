import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';

const TFJS_DIST = 'node_modules/@tensorflow/tfjs-core/dist';
/** Specs that run kernels; the others are about browsers, files and the library's own tools. */
const WITH_KERNELS =
  /^((ops|optimizers)\/.*|buffer|engine|gradients|tape|tensor|tensor_util|variable|debug_mode|profiler|kernel_registry)_test\.js$/;

/** tfjs-core reaches into a jasmine-core of another version, only to set a time limit. */
const jasmineStub: Plugin = {
  name: 'jasmine-stub',
  setup(build) {
    build.onResolve({ filter: /^jasmine-core\/lib/ }, () => ({ path: 'stub', namespace: 'stub' }));
    build.onLoad({ filter: /.*/, namespace: 'stub' }, () => ({
      contents: 'exports.core = () => ({});',
    }));
  },
};

/** Bundles tfjs-core's own specs with our backends into a program: `node FILE BACKEND RESULTS.json`. */
export async function bundleSpecs(path: string): Promise<void> {
  const specs = readdirSync(TFJS_DIST, { recursive: true, encoding: 'utf8' })
    .filter((file) => WITH_KERNELS.test(file))
    .sort();
  const imports = [
    './jasmine-setup.ts',
    ...specs.map((file) => `@tensorflow/tfjs-core/dist/${file}`),
    './jasmine-run.ts',
  ];
  await build({
    stdin: {
      contents: imports.map((name) => `import '${name}';`).join('\n'),
      resolveDir: join(import.meta.dirname),
    },
    bundle: true,
    // tfjs-core says that importing a spec has no effect.
    ignoreAnnotations: true,
    format: 'esm',
    platform: 'node',
    mainFields: ['module', 'main'],
    external: ['jasmine-core'],
    plugins: [jasmineStub],
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
    logLevel: 'error',
    outfile: path,
  });
}
