/** Where a run stands: what a schedule's shape needs to know. */
interface Span {
  readonly step: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

/** After the warm-up: the factor on the learning rate, from 1 down to 0. */
const shapes = {
  constant: () => 1,
  linear: (span: Span) => Math.max(0, 1 - progress(span)),
  cosine: (span: Span) => 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress(span)))),
} as const;

export type SchedulerName = keyof typeof shapes;

export const schedulerNames = Object.keys(shapes) as [SchedulerName, ...SchedulerName[]];

function progress({ step, warmupSteps, totalSteps }: Span): number {
  return (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
}

export interface ScheduleOptions {
  readonly name: SchedulerName;
  readonly learningRate: number;
  /** The decay ends here instead of at 0. */
  readonly minLearningRate: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

/**
 * The learning rate of each optimizer step, counted from 0, as transformers' schedules give it:
 * the warm-up's step i has i / warmupSteps of it, so the first step of a warm-up has none.
 */
export function schedule(options: ScheduleOptions): (step: number) => number {
  const { learningRate, minLearningRate, warmupSteps, totalSteps } = options;
  const least = minLearningRate / learningRate;
  const shape = shapes[options.name];
  return (step) => {
    if (step < warmupSteps) return learningRate * (step / Math.max(1, warmupSteps));
    const factor = shape({ step, warmupSteps, totalSteps });
    return learningRate * (factor * (1 - least) + least);
  };
}
