import { escapeHtml } from './escape.js';
import type { Bar, BarChart } from './report.js';
import { formatWithError, linearScale, niceTicks, type Scale } from './scale.js';

const WIDTH = 760;
const ROW = 34;
const BAR = 18;
const TOP = 8;
const BOTTOM = 44;
/** Room for the number at the end of a bar. */
const RIGHT = 110;
const LABEL = { pixelsPerCharacter: 7, maxCharacters: 34 };

/** Horizontal bars with whiskers for their errors, as one inline SVG. */
export function barChart(chart: BarChart): string {
  const bars = chart.bars.filter((bar) => Number.isFinite(bar.value));
  const caption = `<figcaption>${escapeHtml(chart.title)}</figcaption>`;
  if (bars.length === 0) return `<figure>${caption}<p class="empty">No bars to draw.</p></figure>`;
  const least = Math.min(0, ...bars.map((bar) => bar.value - errorOf(bar)));
  const most = chart.max ?? Math.max(0, ...bars.map((bar) => bar.value + errorOf(bar)));
  const ticks = niceTicks(least, most, 5);
  const left = labelWidth(bars);
  const x = linearScale([ticks.values[0] ?? 0, ticks.values.at(-1) ?? 1], [left, WIDTH - RIGHT]);
  const bottom = TOP + bars.length * ROW;
  const svg = [
    `<svg viewBox="0 0 ${WIDTH} ${bottom + BOTTOM}" role="img" aria-label="${escapeHtml(chart.title)}">`,
    ...ticks.values.map((value, i) => xLine(x(value), bottom, ticks.labels[i] ?? '')),
    ...bars.map((bar, i) => drawBar(bar, TOP + i * ROW + ROW / 2, { x, left })),
    `<line class="axis" x1="${px(x(0))}" x2="${px(x(0))}" y1="${TOP}" y2="${bottom}"/>`,
    `<text class="label" x="${(left + WIDTH - RIGHT) / 2}" y="${bottom + 38}" text-anchor="middle">${escapeHtml(chart.xLabel)}</text>`,
    '</svg>',
  ];
  return `<figure>${caption}${svg.join('\n')}</figure>`;
}

function errorOf(bar: Bar): number {
  return bar.error !== undefined && Number.isFinite(bar.error) ? bar.error : 0;
}

function labelWidth(bars: readonly Bar[]): number {
  const longest = Math.max(...bars.map((bar) => shorten(bar.label).length));
  return 16 + longest * LABEL.pixelsPerCharacter;
}

function shorten(label: string): string {
  const characters = [...label];
  if (characters.length <= LABEL.maxCharacters) return label;
  return `${characters.slice(0, LABEL.maxCharacters - 1).join('')}…`;
}

function xLine(place: number, bottom: number, label: string): string {
  return (
    `<line class="grid" x1="${px(place)}" x2="${px(place)}" y1="${TOP}" y2="${bottom}"/>` +
    `<text class="tick" x="${px(place)}" y="${bottom + 18}" text-anchor="middle">${label}</text>`
  );
}

function drawBar(bar: Bar, middle: number, { x, left }: { x: Scale; left: number }): string {
  const [from, to] = [x(Math.min(0, bar.value)), x(Math.max(0, bar.value))];
  const error = errorOf(bar);
  const [low, high] = [x(bar.value - error), x(bar.value + error)];
  const said = formatWithError(bar.value, error);
  return [
    `<text class="name" x="${left - 10}" y="${middle + 4}" text-anchor="end">${escapeHtml(shorten(bar.label))}</text>`,
    `<rect class="bar" x="${px(from)}" y="${middle - BAR / 2}" width="${px(Math.max(to - from, 1))}" height="${BAR}" rx="3">` +
      `<title>${escapeHtml(bar.label)}: ${said}</title></rect>`,
    error > 0
      ? `<path class="whisker" d="M${px(low)} ${middle}H${px(high)}M${px(low)} ${middle - 5}v10M${px(high)} ${middle - 5}v10"/>`
      : '',
    `<text class="value" x="${px(Math.max(to, high) + 8)}" y="${middle + 4}">${said}</text>`,
  ].join('');
}

function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}
