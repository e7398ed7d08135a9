/** A function whose calls wait for each other, in the order in which they were made. */
export function inTurns<Args extends unknown[], Result>(
  call: (...args: Args) => Promise<Result>,
): (...args: Args) => Promise<Result> {
  let before: Promise<unknown> = Promise.resolve();
  return (...args) => {
    const turn = before.then(() => call(...args));
    before = turn.catch(() => undefined);
    return turn;
  };
}
