import { escapeHtml } from './escape.js';
import type { LineChart, Series } from './report.js';
import { formatNumber, linearScale, niceTicks, type Scale } from './scale.js';

const WIDTH = 760;
const HEIGHT = 320;
const MARGIN = { top: 12, right: 84, bottom: 44, left: 64 };
/** More points than this per curve cannot be told apart at this width. */
const MAX_POINTS = 600;
/** Curves with at most this many points show each of them. */
const MAX_MARKERS = 40;
/** Colours that stay apart for colour-blind eyes; style.ts defines as many. */
const SERIES_COLOURS = 6;

type Point = Series['points'][number];

/** Curves over a common x axis, as one inline SVG with its legend. */
export function lineChart(chart: LineChart): string {
  const series = chart.series.map(({ name, points }) => ({ name, points: thin(points) }));
  const all = series.flatMap(({ points }) => points).filter(isFinitePoint);
  if (all.length === 0) return figure(chart, '<p class="empty">No points to draw.</p>');
  const [xLow, xHigh] = range(all.map((point) => point.x));
  const yTicks = niceTicks(...range(all.map((point) => point.y)), 5);
  const x = linearScale([xLow, xHigh], [MARGIN.left, WIDTH - MARGIN.right]);
  const y = linearScale(range(yTicks.values), [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const svg = [
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(chart.title)}">`,
    ...yTicks.values.map((value, i) => yLine(y(value), yTicks.labels[i] ?? '')),
    ...xAxis(xLow, xHigh, x),
    axisLabels(chart),
    ...series.map(({ name, points }, i) => curve({ name, points, colour: colour(i), x, y })),
    '</svg>',
  ].join('\n');
  return figure(chart, legend(chart.series) + svg);
}

/** At most MAX_POINTS points: of each stretch its lowest and its highest, so that spikes stay. */
function thin(points: readonly Point[]): readonly Point[] {
  if (points.length <= MAX_POINTS) return points;
  const stretch = points.length / (MAX_POINTS / 2);
  return Array.from({ length: MAX_POINTS / 2 }, (_, i) => {
    const part = points.slice(Math.floor(i * stretch), Math.floor((i + 1) * stretch));
    const byHeight = part.filter(isFinitePoint).sort((a, b) => a.y - b.y);
    const [low, high] = [byHeight[0], byHeight.at(-1)];
    if (!low || !high) return part.slice(0, 1);
    return low === high ? [low] : low.x < high.x ? [low, high] : [high, low];
  }).flat();
}

function isFinitePoint(point: Point): boolean {
  return Number.isFinite(point.x) && Number.isFinite(point.y);
}

function range(values: readonly number[]): [number, number] {
  return [
    values.reduce((least, value) => Math.min(least, value), Infinity),
    values.reduce((most, value) => Math.max(most, value), -Infinity),
  ];
}

function yLine(place: number, label: string): string {
  const right = WIDTH - MARGIN.right;
  return (
    `<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${px(place)}" y2="${px(place)}"/>` +
    `<text class="tick" x="${MARGIN.left - 8}" y="${px(place + 4)}" text-anchor="end">${label}</text>`
  );
}

function xAxis(low: number, high: number, x: Scale): string[] {
  const ticks = niceTicks(low, high, 6);
  const bottom = HEIGHT - MARGIN.bottom;
  const lines = ticks.values.map((value, i) =>
    value < low || value > high
      ? ''
      : `<text class="tick" x="${px(x(value))}" y="${bottom + 18}" text-anchor="middle">${ticks.labels[i]}</text>`,
  );
  return [
    `<line class="axis" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${bottom}" y2="${bottom}"/>`,
    ...lines,
  ];
}

function axisLabels({ xLabel, yLabel }: LineChart): string {
  const middle = (MARGIN.top + HEIGHT - MARGIN.bottom) / 2;
  const centre = (MARGIN.left + WIDTH - MARGIN.right) / 2;
  return (
    `<text class="label" x="${centre}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(xLabel)}</text>` +
    `<text class="label" transform="translate(14 ${middle}) rotate(-90)" text-anchor="middle">${escapeHtml(yLabel)}</text>`
  );
}

interface Curve extends Series {
  readonly colour: string;
  readonly x: Scale;
  readonly y: Scale;
}

function curve({ name, points, colour: stroke, x, y }: Curve): string {
  const finite = points.filter(isFinitePoint);
  const last = finite.at(-1);
  if (!last) return '';
  const path = points.map((point, i) => {
    if (!isFinitePoint(point)) return '';
    const before = points[i - 1];
    return `${before && isFinitePoint(before) ? 'L' : 'M'}${px(x(point.x))} ${px(y(point.y))}`;
  });
  const dots = finite.length <= MAX_MARKERS ? finite : [last];
  return [
    `<path class="curve" style="stroke: ${stroke}" d="${path.join('')}"/>`,
    ...dots.map(
      (point) =>
        `<circle class="dot" style="fill: ${stroke}" cx="${px(x(point.x))}" cy="${px(y(point.y))}" r="3.5">` +
        `<title>${escapeHtml(name)}: ${formatNumber(point.y)} at ${formatNumber(point.x)}</title></circle>`,
    ),
    `<text class="value" x="${px(x(last.x) + 8)}" y="${px(y(last.y) + 4)}">${formatNumber(last.y)}</text>`,
  ].join('\n');
}

function legend(series: readonly Series[]): string {
  if (series.length < 2) return '';
  const keys = series.map(
    ({ name }, i) => `<span><i style="background: ${colour(i)}"></i>${escapeHtml(name)}</span>`,
  );
  return `<div class="legend">${keys.join('')}</div>`;
}

function figure(chart: LineChart, content: string): string {
  return `<figure><figcaption>${escapeHtml(chart.title)}</figcaption>${content}</figure>`;
}

function colour(index: number): string {
  return `var(--series-${(index % SERIES_COLOURS) + 1})`;
}

function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}
