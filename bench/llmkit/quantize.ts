// Quantizes every linear layer with the built library, the head too, which the command line has no word for.
//   node quantize.js '{"library": …, "model": …, "output": …, "scheme": "int4", "groupSize": 32}'
import { pathToFileURL } from 'node:url';

export interface QuantizeJob {
  /** The built index.js. */
  readonly library: string;
  readonly model: string;
  readonly output: string;
  readonly scheme: 'int4' | 'nf4';
  readonly groupSize?: number;
}

type Library = typeof import('../../src/index.js');

const { library, ...job }: QuantizeJob = JSON.parse(process.argv[2] as string);
const { quantizeModel }: Library = await import(pathToFileURL(library).href);
await quantizeModel({
  ...job,
  doubleQuant: false,
  asymmetric: false,
  skip: [],
  force: false,
  dryRun: false,
});
