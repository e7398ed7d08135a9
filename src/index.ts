export { LlmkitError, type ErrorCode } from './errors.js';
