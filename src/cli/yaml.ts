/** The part of `yaml` in use, in a file that is loaded when there is YAML. */
export { parse, stringify, YAMLParseError } from 'yaml';
