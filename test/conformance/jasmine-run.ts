import { writeFileSync } from 'node:fs';
import type { SpecResult } from './spec-result.js';

const results: SpecResult[] = [];
const environment = jasmine.getEnv();
environment.addReporter({
  specDone: ({ fullName, status, failedExpectations, duration }) => {
    const failures = failedExpectations.map(({ message }) => message.slice(0, 500));
    results.push({ name: fullName, status, failures, duration: duration ?? 0 });
  },
});
await environment.execute();
writeFileSync(process.argv[3] ?? '', JSON.stringify(results));
process.exit(0);
