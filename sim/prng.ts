/**
 * A seeded source of chance (sfc32, period about 2^128). Every draw of the simulator comes from one of these, so that a
 * seed replays exactly. `fork` makes an independent stream without consuming anything of this one: what one part of the
 * world draws does not move what another part sees.
 */
export type Prng = {
  /** 0 to 2^32 - 1. */
  u32(): number;
  /** A whole number from 0 to `count - 1`. */
  below(count: number): number;
  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number;
  /** True with the given probability. */
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  /** Exponentially distributed around a mean: the time to the next of a stream of independent events. */
  exponential(mean: number): number;
  /** Between `low` and `high`, each order of magnitude as likely as any other. */
  logUniform(low: number, high: number): number;
  fork(label: string): Prng;
};

export function createPrng(seed: number | string): Prng {
  const key = hashText(String(seed));
  let a = key;
  let b = hashText(`b${seed}`);
  let c = hashText(`c${seed}`);
  let counter = 1;

  function u32(): number {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  }
  for (let i = 0; i < 12; i += 1) u32();

  const unit = (): number => u32() / 0x1_0000_0000;
  const below = (count: number): number => Math.floor(unit() * count);
  return {
    u32,
    below,
    between: (low, high) => low + below(high - low + 1),
    chance: (probability) => probability > 0 && unit() < probability,
    pick<T>(items: readonly T[]): T {
      if (items.length === 0) throw new RangeError("nothing to pick from");
      return items[below(items.length)] as T;
    },
    exponential: (mean) => -Math.log(1 - unit()) * mean,
    logUniform: (low, high) => low * (high / low) ** unit(),
    fork: (label) => createPrng(`${seed}/${label}`),
  };
}

/** FNV-1a with a last stir, 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) | 0;
}
