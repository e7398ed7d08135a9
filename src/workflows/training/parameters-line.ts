/** `trainable params: 1,234 || all params: 5,678 || trainable%: 21.7330`, as PEFT prints it. */
export function parametersLine(trainable: number, all: number): string {
  const grouped = (count: number) => count.toLocaleString('en-US');
  const percent = ((100 * trainable) / all).toFixed(4);
  return `trainable params: ${grouped(trainable)} || all params: ${grouped(all)} || trainable%: ${percent}`;
}
