/** A queue in which no namespace waits behind another's crowd. */
export type FairQueue<T> = {
  readonly size: number;
  /** How many of one namespace wait. */
  sizeOf(namespace: string): number;
  push(namespace: string, item: T): void;
  /** Takes an item out again, for a waiter who leaves; false where it is not there any more. */
  remove(namespace: string, item: T): boolean;
  /** The next one: a namespace after the other, and within a namespace in order of arrival. */
  shift(): T | undefined;
};

/** Makes an empty queue. Items are told apart by identity. All calls take constant time. */
export function createFairQueue<T>(): FairQueue<T> {
  // Both kinds keep the order of insertion; the namespace whose turn it is stands first.
  const itemsByNamespace = new Map<string, Set<T>>();
  let size = 0;

  function remove(namespace: string, item: T): boolean {
    const items = itemsByNamespace.get(namespace);
    if (items?.delete(item) !== true) return false;
    if (items.size === 0) itemsByNamespace.delete(namespace);
    size -= 1;
    return true;
  }

  return {
    get size() {
      return size;
    },
    sizeOf: (namespace) => itemsByNamespace.get(namespace)?.size ?? 0,
    push(namespace, item) {
      const items = itemsByNamespace.get(namespace);
      if (items === undefined) itemsByNamespace.set(namespace, new Set([item]));
      else items.add(item);
      size += 1;
    },
    remove,
    shift() {
      for (const [namespace, items] of itemsByNamespace) {
        // Served: back to the end of the round, if anybody is left.
        itemsByNamespace.delete(namespace);
        itemsByNamespace.set(namespace, items);
        for (const item of items) {
          remove(namespace, item);
          return item;
        }
      }
      return undefined;
    },
  };
}
