import { htmlReport } from './html.js';
import { markdownReport } from './markdown.js';
import type { ReportWriter } from './report.js';

/** The report formats. The only place one is listed. */
export const reportWriters: Readonly<Record<string, ReportWriter>> = {
  html: { extension: '.html', write: htmlReport },
  markdown: { extension: '.md', write: markdownReport },
};
