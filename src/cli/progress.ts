import { SingleBar } from 'cli-progress';
import type { Progress } from './command.js';

/** Where progress goes: a bar when `isTerminal`, else lines. */
export interface ProgressTarget {
  readonly stream: NodeJS.WriteStream;
  readonly isTerminal: boolean;
}

/** Starts showing the progress of one task. */
export function startProgress(
  target: ProgressTarget,
  label: string,
  total: number,
  unit = '',
): Progress {
  return target.isTerminal ? bar(target, label, total, unit) : lines(target, label, total, unit);
}

/** Shows nothing. */
export const silentProgress: Progress = { update() {}, end() {} };

function bar({ stream }: ProgressTarget, label: string, total: number, unit: string): Progress {
  const single = new SingleBar({
    stream,
    format: `${label} [{bar}] {value}/{total}${unit && ` ${unit}`} · {duration_formatted}{detail}`,
    barsize: 24,
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
  });
  single.start(total, 0, { detail: '' });
  return {
    update: (done, detail) => single.update(done, { detail: detail ? ` · ${detail}` : '' }),
    end: () => single.stop(),
  };
}

/** At most one line per tenth of the work: logs of CI stay short. */
function lines({ stream }: ProgressTarget, label: string, total: number, unit: string): Progress {
  let shownTenth = 0;
  return {
    update(done, detail) {
      const tenth = Math.floor((10 * done) / Math.max(1, total));
      if (tenth <= shownTenth) return;
      shownTenth = tenth;
      stream.write(
        `${label}: ${done}/${total}${unit && ` ${unit}`}${detail ? ` · ${detail}` : ''}\n`,
      );
    },
    end() {},
  };
}
