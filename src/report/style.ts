const LIGHT = `
  --surface: #fcfcfb; --page: #f4f3ef; --text: #0b0b0b; --text-soft: #52514e; --text-faint: #77756f;
  --line: #e1e0d9; --axis: #b9b7ad;
  --series-1: #2a78d6; --series-2: #d9541e; --series-3: #159268; --series-4: #b98100; --series-5: #7a55c7; --series-6: #c2407f;`;

const DARK = `
  --surface: #1a1a19; --page: #111110; --text: #f6f5f2; --text-soft: #c3c2b7; --text-faint: #95938a;
  --line: #2f2f2c; --axis: #55544e;
  --series-1: #5598e7; --series-2: #e8743f; --series-3: #34b587; --series-4: #d9a432; --series-5: #a283e3; --series-6: #e070a3;`;

/** The style sheet of a report: light or dark as the reader's system is, printable, nothing loaded from elsewhere. */
export const STYLE_SHEET = `
:root { color-scheme: light dark; ${LIGHT} }
@media (prefers-color-scheme: dark) { :root { ${DARK} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
.subtitle { color: var(--text-soft); margin: .35rem 0 0; overflow-wrap: anywhere; }
section { background: var(--surface); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.1rem 1.4rem 1.3rem; margin-top: 1.5rem; }
h2 { font-size: 1.1rem; margin: 0 0 .6rem; }
p { margin: .5rem 0; }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem;
  overflow-x: auto; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--text-soft); padding-bottom: .35rem; }
th { text-align: left; font-weight: 600; color: var(--text-soft); border-bottom: 1px solid var(--axis); }
th, td { padding: .35rem 1.2rem .35rem 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
tbody tr:last-child td { border-bottom: 0; }
.right { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
.figures { display: flex; flex-wrap: wrap; gap: .4rem 2.4rem; margin: .6rem 0; }
.figures div { display: flex; flex-direction: column-reverse; }
.figures dt { color: var(--text-soft); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.55rem; font-weight: 600; line-height: 1.3; }
figure { margin: 1rem 0 .4rem; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--text); }
svg .tick { fill: var(--text-faint); font-variant-numeric: tabular-nums; }
svg .label, svg .name { fill: var(--text-soft); }
svg .value { font-weight: 600; }
svg .grid { stroke: var(--line); }
svg .axis { stroke: var(--axis); }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .dot { stroke: var(--surface); stroke-width: 1.5; }
svg .bar { fill: var(--series-1); }
svg .whisker { fill: none; stroke: var(--text-soft); stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; color: var(--text-soft); font-size: .85rem; margin-bottom: .3rem; }
.legend i { display: inline-block; width: .9rem; height: .2rem; border-radius: 2px; margin-right: .4rem; vertical-align: middle; }
.empty { color: var(--text-faint); }
@media print { body { background: none; } section { break-inside: avoid; border: 0; padding: 0; } }
`;
