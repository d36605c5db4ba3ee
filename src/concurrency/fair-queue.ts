/**
 * A queue that serves namespaces in turn (round-robin), so that a namespace with many items does
 * not delay the others. Items are compared by identity. Every call takes constant time.
 */
export class FairQueue<T> {
  // Map and Set keep insertion order. The namespace to serve next is the first key.
  readonly #itemsByNamespace = new Map<string, Set<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** How many items of one namespace are queued. */
  sizeOf(namespace: string): number {
    return this.#itemsByNamespace.get(namespace)?.size ?? 0;
  }

  push(namespace: string, item: T): void {
    const items = this.#itemsByNamespace.get(namespace);
    if (items === undefined) this.#itemsByNamespace.set(namespace, new Set([item]));
    else items.add(item);
    this.#size += 1;
  }

  /** Removes an item. Returns false if the item is not in the queue. */
  remove(namespace: string, item: T): boolean {
    const items = this.#itemsByNamespace.get(namespace);
    if (items?.delete(item) !== true) return false;
    if (items.size === 0) this.#itemsByNamespace.delete(namespace);
    this.#size -= 1;
    return true;
  }

  /** The item that `shift` returns next. */
  peek(): T | undefined {
    for (const items of this.#itemsByNamespace.values()) for (const item of items) return item;
    return undefined;
  }

  /** The first namespace in turn that is eligible. */
  findNamespace(isEligible: (namespace: string) => boolean): string | undefined {
    for (const namespace of this.#itemsByNamespace.keys())
      if (isEligible(namespace)) return namespace;
    return undefined;
  }

  /**
   * Takes the next item: namespaces in turn, and within a namespace the oldest item first.
   * @param namespace takes its item out of turn; afterwards it is the last of the round
   */
  shift(namespace = this.findNamespace(() => true)): T | undefined {
    const items = namespace === undefined ? undefined : this.#itemsByNamespace.get(namespace);
    if (namespace === undefined || items === undefined) return undefined;
    // The namespace moves to the end of the round.
    this.#itemsByNamespace.delete(namespace);
    this.#itemsByNamespace.set(namespace, items);
    const [item] = items;
    if (item !== undefined) this.remove(namespace, item);
    return item;
  }
}
