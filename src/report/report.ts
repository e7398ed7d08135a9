/** A column of a table. Numbers are usually right-aligned. */
export interface Column {
  readonly name: string;
  readonly align?: 'left' | 'right';
}

export interface TableBlock {
  readonly kind: 'table';
  readonly caption?: string;
  readonly columns: readonly Column[];
  /** One row per line, one cell per column, already formatted. */
  readonly rows: readonly (readonly string[])[];
}

/** One curve of a line chart; a point that is not finite interrupts it. */
export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface LineChart {
  readonly kind: 'lines';
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

/** One bar; `error` is drawn as a whisker of value ± error. */
export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly error?: number;
}

export interface BarChart {
  readonly kind: 'bars';
  readonly title: string;
  readonly xLabel: string;
  readonly bars: readonly Bar[];
  /** Right end of the axis; by default the largest value and its error. */
  readonly max?: number;
}

/** A piece of a section. `text` is a paragraph, `code` is shown as it is, `figures` are a few large numbers. */
export type Block =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'code'; readonly text: string }
  | {
      readonly kind: 'figures';
      readonly items: readonly { readonly label: string; readonly value: string }[];
    }
  | TableBlock
  | LineChart
  | BarChart;

export interface Section {
  readonly heading: string;
  readonly blocks: readonly Block[];
}

/** What a report says, apart from how it is written (see index.ts for the writers). */
export interface Report {
  readonly title: string;
  readonly subtitle?: string;
  readonly sections: readonly Section[];
}

/** Turns a report into the text of a file. */
export interface ReportWriter {
  /** Of the file, with its dot. */
  readonly extension: string;
  readonly write: (report: Report) => string;
}
