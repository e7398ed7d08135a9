/** How items are read, several at a time. */
export interface ReadAhead<Item, Value> {
  /** The sizes of items under way together, one more aside. */
  readonly most: number;
  size(item: Item): number;
  read(item: Item): Promise<Value>;
  /** Called in the order of the items. */
  done(item: Item, value: Value): void;
  /** Called with what was read after something else had failed. */
  discard(value: Value): void;
}

/** Begins to read items before those in front of them are read. An error is thrown when nothing is under way any more. */
export async function readAhead<Item, Value>(
  items: Iterable<Item>,
  { most, size, read, done, discard }: ReadAhead<Item, Value>,
): Promise<void> {
  const underWay: { readonly item: Item; readonly value: Promise<Value> }[] = [];
  let total = 0;
  const downTo = async (limit: number) => {
    while (total > limit) {
      const first = underWay.shift();
      if (!first) return;
      total -= size(first.item);
      done(first.item, await first.value);
    }
  };
  try {
    for (const item of items) {
      const value = read(item);
      value.catch(() => undefined); // thrown when it is waited for
      underWay.push({ item, value });
      total += size(item);
      await downTo(most);
    }
    await downTo(-1);
  } catch (error) {
    const others = await Promise.allSettled(underWay.map(({ value }) => value));
    for (const other of others) if (other.status === 'fulfilled') discard(other.value);
    throw error;
  }
}
