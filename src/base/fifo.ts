/** A first-in first-out queue that neither shifts an array nor allocates per item. Grows to the size it once needed. */
export type Fifo<T> = {
  readonly items: (T | undefined)[];
  head: number;
  count: number;
};

export function createFifo<T>(): Fifo<T> {
  return { items: [], head: 0, count: 0 };
}

export function push<T>(fifo: Fifo<T>, item: T): void {
  if (fifo.count === fifo.items.length) grow(fifo);
  fifo.items[(fifo.head + fifo.count) & (fifo.items.length - 1)] = item;
  fifo.count += 1;
}

/** The oldest item, which stays; undefined when there is none. */
export function peek<T>(fifo: Fifo<T>): T | undefined {
  return fifo.count === 0 ? undefined : fifo.items[fifo.head];
}

/** The oldest item, taken out; undefined when there is none. */
export function shift<T>(fifo: Fifo<T>): T | undefined {
  if (fifo.count === 0) return undefined;
  const item = fifo.items[fifo.head];
  fifo.items[fifo.head] = undefined;
  fifo.head = (fifo.head + 1) & (fifo.items.length - 1);
  fifo.count -= 1;
  return item;
}

/** The item at a place counted from the oldest, which stays. */
export function at<T>(fifo: Fifo<T>, index: number): T | undefined {
  return index < fifo.count ? fifo.items[(fifo.head + index) & (fifo.items.length - 1)] : undefined;
}

/** Takes everything out, oldest first. */
export function drain<T>(fifo: Fifo<T>): T[] {
  const all: T[] = [];
  for (let item = shift(fifo); item !== undefined; item = shift(fifo)) all.push(item);
  return all;
}

// The length is a power of two, so that a place wraps by a mask.
function grow<T>(fifo: Fifo<T>): void {
  const larger: (T | undefined)[] = Array.from({ length: Math.max(16, fifo.items.length * 2) });
  for (let i = 0; i < fifo.count; i += 1) {
    larger[i] = fifo.items[(fifo.head + i) & (fifo.items.length - 1)];
  }
  fifo.items.length = 0;
  for (const item of larger) fifo.items.push(item);
  fifo.head = 0;
}
