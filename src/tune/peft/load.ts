import { LlmkitError } from '../../errors.js';
import type { Decoder } from '../../model/decoder.js';
import { parameterSpecs } from '../../model/layout.js';
import { DenseLinear } from '../../model/linear.js';
import { transposeFloats } from '../../model/transpose.js';
import { type Tensor2D, tensor, type Variable } from '../../tensor/tfjs.js';
import { Adapter, splitName } from './adapter.js';
import { type AdapterFile, readAdapter, type StoredValues } from './adapter-file.js';
import { LoraEmbedding } from './lora-embedding.js';
import type { LoraParts } from './lora-linear.js';
import { makeVariable, wrapLinear } from './wrap.js';

/**
 * Puts a PEFT folder's adapter on a model.
 *
 * @throws LlmkitError `shape` naming each tensor that does not fit the model; `unsupported` for what
 *   llmkit does not compute; `checkpoint` when the folder is not an adapter
 */
export async function loadAdapter(
  model: Decoder,
  folder: string,
  options: { readonly trainable?: boolean } = {},
): Promise<Adapter> {
  const file = await readAdapter(folder);
  checkFits(file, model);
  const trainable = options.trainable ?? false;
  const rate = file.config.lora.dropout;
  const names = [...model.linears.keys()];
  const { parameters, owned } = replaceParameters(file, model, trainable);
  const layers = new Map<string, LoraParts>();
  for (const [name, lora] of file.modules) {
    model.wrapLinear(name, (inner) => {
      const wrapped = wrapLinear(inner, lora, { rate, stream: names.indexOf(name), trainable });
      layers.set(name, wrapped.parts);
      return wrapped;
    });
  }
  owned.push(...wrapEmbeddings(file, model, trainable));
  return new Adapter(model, file.config.lora, { layers, parameters, owned });
}

/** @returns the tensors made */
function wrapEmbeddings(file: AdapterFile, model: Decoder, trainable: boolean): Variable[] {
  const made: Variable[] = [];
  for (const [name, lora] of file.embeddings) {
    if (trainable) {
      throw new LlmkitError(
        'unsupported',
        `${file.folder}: the adapter changes the embedding ${name}, which can be loaded, but not trained on`,
      );
    }
    model.wrapEmbedding(name, (inner) => {
      const wrapped = new LoraEmbedding(inner, lora);
      made.push(...wrapped.variables);
      return wrapped;
    });
  }
  return made;
}

/** Compares every tensor of the adapter with the model's. */
function checkFits(file: AdapterFile, model: Decoder): void {
  checkEmbeddings(file, model);
  const problems: string[] = [];
  for (const [name, { inFeatures, outFeatures }] of file.modules) {
    const linear = model.linears.get(name);
    const want = linear && [linear.outFeatures, linear.inFeatures];
    compareShapes(problems, `linear layer ${name}`, { want, got: [outFeatures, inFeatures] });
  }
  for (const [name, { inFeatures, outFeatures }] of file.embeddings) {
    const table = model.embeddings.get(name);
    const want = table && [table.rows, table.width];
    compareShapes(problems, `embedding ${name}`, { want, got: [inFeatures, outFeatures] });
  }
  for (const [name, { shape }] of file.replaced) {
    compareShapes(problems, `parameter ${name}`, { want: storedShape(model, name), got: shape });
  }
  if (problems.length === 0) return;
  const more = problems.length > 3 ? `; and ${problems.length - 3} more` : '';
  const named = problems.slice(0, 3).join('; ');
  throw new LlmkitError(
    'shape',
    `${file.folder}: the adapter belongs to another base model: ${named}${more}`,
  );
}

/** A table stays in its stored format: a low-rank change goes beside it, another has no place. */
function checkEmbeddings(file: AdapterFile, model: Decoder): void {
  const replaced = [...file.replaced.keys()].map((name) => splitName(name)[0]);
  for (const { name, role } of parameterSpecs(model.checkpointConfig)) {
    const [module] = splitName(name);
    if (role !== 'embedding' || !replaced.includes(module)) continue;
    throw new LlmkitError(
      'unsupported',
      `${file.folder}: the adapter replaces the embedding ${module}, which llmkit cannot run`,
    );
  }
}

function compareShapes(
  problems: string[],
  name: string,
  { want, got }: { want: readonly number[] | undefined; got: readonly number[] },
): void {
  if (want === undefined) problems.push(`the model has no ${name}`);
  else if (want.join() !== got.join()) {
    problems.push(`${name} has shape [${want.join(', ')}], the adapter's [${got.join(', ')}]`);
  }
}

/** Shape of a parameter as a file holds it. */
function storedShape(model: Decoder, name: string): readonly number[] | undefined {
  const [module, part] = splitName(name);
  const linear = part === 'weight' ? model.linears.get(module) : undefined;
  if (linear === undefined) return model.parameters.get(name)?.shape;
  const { inFeatures, outFeatures, transposedOnDisk } = linear;
  return transposedOnDisk ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
}

interface Replaced {
  readonly parameters: ReadonlyMap<string, Variable>;
  readonly owned: Variable[];
}

/** Biases, norms and whole linear layers that the adapter holds in full. */
function replaceParameters(file: AdapterFile, model: Decoder, trainable: boolean): Replaced {
  const parameters = new Map<string, Variable>();
  const owned: Variable[] = [];
  for (const [name, stored] of file.replaced) {
    const [module, part] = splitName(name);
    if (part === 'weight' && model.linears.has(module)) {
      const weight = replaceLinear(model, module, { stored, trainable });
      owned.push(weight);
      parameters.set(name, weight);
    } else {
      parameters.set(name, assign(model.parameters.get(name) as Variable, stored, trainable));
    }
  }
  return { parameters, owned };
}

function replaceLinear(
  model: Decoder,
  module: string,
  { stored, trainable }: { stored: StoredValues; trainable: boolean },
): Variable {
  const inner = model.linears.get(module);
  if (trainable && inner?.transposedOnDisk) {
    throw new LlmkitError(
      'unsupported',
      `modules_to_save: ${module} is stored transposed and can be loaded, but not trained on`,
    );
  }
  const [rows = 0, cols = 0] = stored.shape;
  const weight = inner?.transposedOnDisk
    ? makeVariable(transposeFloats(stored.values, rows, cols), [cols, rows], trainable)
    : makeVariable(stored.values, stored.shape, trainable);
  model.wrapLinear(module, ({ name, bias, transposedOnDisk }) => {
    return new DenseLinear({ name, weight: weight as Tensor2D & Variable, bias, transposedOnDisk });
  });
  return weight;
}

/** Gives a dense parameter of the model new values. */
function assign(parameter: Variable, stored: StoredValues, trainable: boolean): Variable {
  const values = tensor(stored.values, [...stored.shape]);
  parameter.assign(values);
  values.dispose();
  if (trainable) parameter.trainable = true;
  return parameter;
}
