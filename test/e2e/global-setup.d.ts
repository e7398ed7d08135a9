/** Builds dist once, if it is stale, unless the run was narrowed to tests that do not need it. */
export default function setup(): void;
