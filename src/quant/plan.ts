import type { HfConfig } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';
import { HEAD } from '../model/layout.js';
import { layouts, type PlannedCheckpoint, type PlannedMatrix } from './layouts.js';
import type { MethodName } from './methods/index.js';
import { schemes } from './schemes/index.js';
import type { QuantScheme } from './schemes/scheme.js';
import {
  type Header,
  type StoredLinear,
  storedLinears,
  type TiedHead,
  tiedHead,
} from './stored-linears.js';

/** What a user calls the options of a plan, for messages. */
export type OptionNames = Readonly<
  Record<'scheme' | 'groupSize' | 'doubleQuant' | 'asymmetric' | 'skip', string>
>;

/** The flags of `llmkit quantize`. */
const FLAGS: OptionNames = {
  scheme: '--scheme',
  groupSize: '--group-size',
  doubleQuant: '--double-quant',
  asymmetric: '--asymmetric',
  skip: '--skip',
};

/** What a user asks for. */
export interface PlanRequest {
  readonly scheme: QuantScheme;
  readonly groupSize?: number | undefined;
  readonly doubleQuant: boolean;
  readonly asymmetric: boolean;
  /** How scales are chosen; left out: `rtn`. */
  readonly method?: MethodName | undefined;
  /** Module paths, their endings or globs. */
  readonly skip: readonly string[];
  /** How the output head is stored, whether or not `skip` names it; left out: as the other layers. */
  readonly head?: QuantScheme | undefined;
  /** Left out: the flags of `llmkit quantize`. */
  readonly names?: OptionNames;
}

/** A matrix of a plan, and whether the file holds it transposed. */
export interface PlannedTensor extends PlannedMatrix {
  readonly transposedOnDisk: boolean;
}

/** Which matrices become what. */
export interface QuantPlan {
  readonly scheme: QuantScheme;
  readonly method: MethodName;
  readonly checkpoint: PlannedCheckpoint;
  /** By module path as the file names it. */
  readonly matrices: ReadonlyMap<string, PlannedTensor>;
  /** Set where a head that was tied to the embedding becomes a matrix of its own. */
  readonly untied?: TiedHead | undefined;
  /** What the user should know: said once. */
  readonly notes: readonly string[];
}

/**
 * Chooses the matrices and their groups from config.json and headers alone.
 *
 * @throws LlmkitError `usage` for options that do not fit the scheme or the model, `checkpoint`,
 *   `unsupported`
 */
export function planQuantization(
  config: HfConfig,
  tensors: ReadonlyMap<string, Header>,
  request: PlanRequest,
): QuantPlan {
  const { scheme, doubleQuant, asymmetric, method = 'rtn', head, names = FLAGS } = request;
  checkOptions(request, names);
  if (head) checkHead(head, scheme);
  const untied = head && tiedHead(config, tensors);
  const linears = [...storedLinears(config, tensors), ...(untied ? [untied.linear] : [])];
  const skipped = skippedModules(linears, request.skip, names);
  if (head) skipped.delete(HEAD);
  const chosen = linears.filter(({ module }) => !skipped.has(module));
  if (chosen.length === 0) {
    throw new LlmkitError('usage', `quantize: ${names.skip} leaves no layer to quantize`);
  }
  checkTransposed(scheme, chosen, names);
  const groups = chooseGroups(chosen, request, names);
  const matrices = new Map(
    chosen.map((linear) => [
      linear.stored,
      {
        ...linear,
        module: linear.stored,
        scheme: linear.module === HEAD ? (head ?? scheme) : scheme,
        groupSize: groups.size ?? linear.cols,
      },
    ]),
  );
  // A tied head is no matrix of its own, yet readers must be told to leave it alone.
  if (!linears.some(({ module }) => module === HEAD)) skipped.add(HEAD);
  return {
    scheme,
    method,
    matrices,
    untied,
    notes: [...groups.notes, ...(untied ? [untiedNote(untied, matrices)] : [])],
    checkpoint: {
      ...(groups.size === undefined ? {} : { groupSize: groups.size }),
      doubleQuant,
      asymmetric,
      dtype: chosen[0]?.dtype ?? 'F32',
      head,
      skipped: [...skipped],
    },
  };
}

function checkOptions(
  { scheme, groupSize, doubleQuant, asymmetric }: PlanRequest,
  names: OptionNames,
): void {
  const { format, supports, groupsCrossRows } = scheme;
  const refuse = (message: string) => {
    throw new LlmkitError('usage', message);
  };
  if (doubleQuant && !supports.doubleQuant) {
    refuse(`${names.doubleQuant}: for nf4 and fp4 only, the scheme is ${format}`);
  }
  if (asymmetric && !supports.asymmetric) {
    refuse(`${names.asymmetric}: for int4 and int8 only, the scheme is ${format}`);
  }
  if (groupSize === undefined || !groupsCrossRows) return;
  const { smallest, largest } = scheme.allowedGroupSizes;
  if (groupSize < smallest || groupSize > largest || !Number.isInteger(Math.log2(groupSize))) {
    refuse(
      `${names.groupSize}: ${format} takes a power of two from ${smallest} to ${largest}, got ${groupSize}`,
    );
  }
}

function checkHead(head: QuantScheme, scheme: QuantScheme): void {
  const stands = (layers: QuantScheme) =>
    head === layers || (head.layout === layers.layout && layouts[layers.layout].mixesSchemes);
  if (stands(scheme)) return;
  const others = Object.values(schemes).filter(stands);
  throw new LlmkitError(
    'usage',
    `--head: ${scheme.layout} holds no ${head.format} head beside ${scheme.format} layers; ` +
      `use --head ${scheme.format}, or --scheme ${others.map(({ format }) => format).join(' or ')}`,
  );
}

function untiedNote(
  { linear: { dtype } }: TiedHead,
  matrices: ReadonlyMap<string, PlannedMatrix>,
): string {
  return (
    `the head is tied to the embedding: it becomes a matrix of its own in ${matrices.get(HEAD)?.scheme.format}, ` +
    `the embedding stays in ${dtype} (tie_word_embeddings: false)`
  );
}

function skippedModules(
  linears: readonly StoredLinear[],
  skip: readonly string[],
  names: OptionNames,
): Set<string> {
  const skipped = new Set<string>();
  for (const pattern of skip) {
    const matched = linears.filter(({ module }) => matches(module, pattern));
    for (const { module } of matched) skipped.add(module);
    if (matched.length > 0 || pattern === HEAD) continue;
    const leaves = [...new Set(linears.map(({ module }) => module.split('.').at(-1)))].join(', ');
    throw new LlmkitError(
      'usage',
      `${names.skip}: ${JSON.stringify(pattern)} matches no linear layer; the model has ${leaves}`,
    );
  }
  return skipped;
}

/** A whole path, its ending after a dot, or a glob for either. */
function matches(module: string, pattern: string): boolean {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  const glob = escaped.replaceAll('*', '.*').replaceAll('?', '.');
  return new RegExp(`^(.*\\.)?${glob}$`).test(module);
}

function checkTransposed(
  scheme: QuantScheme,
  chosen: readonly StoredLinear[],
  names: OptionNames,
): void {
  const transposed = chosen.find(({ transposedOnDisk }) => transposedOnDisk);
  if (transposed === undefined || layouts[scheme.layout].holdsTransposed) return;
  throw new LlmkitError(
    'unsupported',
    `${transposed.module}: is a Conv1D layer, stored transposed: ${scheme.layout} has no place for it, ` +
      `so ${scheme.format} cannot be used; use ${names.scheme} nf4`,
  );
}

interface ChosenGroups {
  /** Undefined: a row. */
  readonly size?: number;
  readonly notes: readonly string[];
}

function chooseGroups(
  chosen: readonly StoredLinear[],
  { scheme, groupSize: wanted }: PlanRequest,
  names: OptionNames,
): ChosenGroups {
  if (scheme.groupsCrossRows) {
    return { size: wanted ?? (scheme.defaultGroupSizes[0] as number), notes: [] };
  }
  if (wanted !== undefined) {
    const odd = chosen.find(({ cols }) => cols % wanted !== 0);
    if (odd) throw doesNotDivide(odd, `group size ${wanted} does not divide`, names);
    return { size: wanted, notes: [] };
  }
  const [preferred] = scheme.defaultGroupSizes;
  const fitting = scheme.defaultGroupSizes.find(
    (size) => size === 'row' || chosen.every(({ cols }) => cols % size === 0),
  );
  if (fitting === 'row') return { notes: [] };
  if (fitting === undefined) {
    const sizes = scheme.defaultGroupSizes.join(', ');
    const odd = chosen.find(({ cols }) => cols % (scheme.defaultGroupSizes.at(-1) as number) !== 0);
    throw doesNotDivide(
      odd ?? (chosen[0] as StoredLinear),
      `none of the group sizes ${sizes} divides`,
      names,
    );
  }
  const note = `group size ${fitting}: ${preferred} does not divide every row`;
  return { size: fitting, notes: fitting === preferred ? [] : [note] };
}

function doesNotDivide(
  { module, cols }: StoredLinear,
  problem: string,
  names: OptionNames,
): LlmkitError {
  const divisors = [128, 64, 32, 16, 8, 4].filter((size) => cols % size === 0);
  const fix = divisors.length > 0 ? `${names.groupSize} ${divisors[0]}, ` : '';
  const leaf = module.split('.').at(-1);
  return new LlmkitError(
    'usage',
    `${names.groupSize}: ${problem} the rows of ${module}, which have ${cols} weights; ` +
      `use ${fix}${names.scheme} nf4, or ${names.skip} ${leaf}`,
  );
}
