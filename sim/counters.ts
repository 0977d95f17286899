/**
 * What a run went through: how often each fault was injected, each situation met, each checker asked. A checker that never
 * sees its situation passes every seed, so the counts are printed and kept.
 */
export type Counters = Map<string, number>;

export function count(counters: Counters, name: string, by = 1): void {
  counters.set(name, (counters.get(name) ?? 0) + by);
}

export function addCounters(into: Counters, from: Iterable<readonly [string, number]>): void {
  for (const [name, by] of from) count(into, name, by);
}

/** `faults: kill 12, power 3` and so on: one line for each prefix before a colon. */
export function formatCounters(counters: Counters): string[] {
  const lines = new Map<string, string[]>();
  for (const [name, value] of [...counters].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const colon = name.indexOf(":");
    const prefix = name.slice(0, colon);
    const words = lines.get(prefix) ?? [];
    words.push(`${name.slice(colon + 1)} ${value}`);
    lines.set(prefix, words);
  }
  return [...lines].map(([prefix, words]) => `${prefix}: ${words.join(", ")}`);
}
