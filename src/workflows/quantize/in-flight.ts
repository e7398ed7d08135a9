/** Sizes together that are in flight in any case. */
const LEAST_IN_FLIGHT = 2 ** 27;

/**
 * Calls `work` for each item in order, several at a time as long as their sizes together are at most
 * the largest item's, or few: as much memory as one item at a time may need, without waiting between them.
 */
export async function eachInFlight<Item>(
  items: readonly Item[],
  sizeOf: (item: Item) => number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const most = items.reduce((largest, item) => Math.max(largest, sizeOf(item)), LEAST_IN_FLIGHT);
  const running = new Set<Promise<void>>();
  let used = 0;
  try {
    for (const item of items) {
      const size = sizeOf(item);
      while (used + size > most) await Promise.race(running);
      used += size;
      const task = work(item).then(() => {
        used -= size;
        running.delete(task);
      });
      running.add(task);
    }
    await Promise.all(running);
  } finally {
    // After a failure too: whoever cleans up must not do so under their feet.
    await Promise.allSettled(running);
  }
}
