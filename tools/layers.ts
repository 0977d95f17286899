// Who may import whom. The linter's rules (oxlint.config.ts) are made from this table, and ARCHITECTURE.md tells it in
// words; the table is what counts.

/** One folder of src. It may import itself, the folders in `from`, and only types from those in `typesFrom`. */
export type Layer = {
  readonly name: string;
  readonly from: readonly string[];
  readonly typesFrom: readonly string[];
  /** Packages that even a pure layer may use: functions of their arguments, in the data path of every layer above. */
  readonly packages?: readonly string[];
  /** Pure code runs in the simulator unchanged: nothing of Node, no package, no clock, timer or randomness. */
  readonly isPure: boolean;
};

/** From the bottom up: a layer never imports one that stands below it in this list. */
export const layers: readonly Layer[] = [
  { name: "base", from: [], typesFrom: [], packages: ["@node-rs/crc32"], isPure: true },
  { name: "ports", from: ["base"], typesFrom: [], isPure: true },
  { name: "core", from: ["base", "ports"], typesFrom: [], isPure: true },
  { name: "wire", from: ["base"], typesFrom: ["ports", "core"], isPure: true },
  { name: "store", from: ["base", "ports", "core"], typesFrom: [], isPure: true },
  { name: "config", from: ["base"], typesFrom: [], isPure: false },
  {
    name: "site",
    from: ["base", "ports", "core", "wire", "store"],
    typesFrom: ["config"],
    isPure: true,
  },
  {
    name: "io",
    from: ["base", "ports", "core", "wire", "store", "config", "site"],
    typesFrom: [],
    isPure: false,
  },
  {
    name: "control",
    from: ["base", "ports", "config", "site", "io"],
    typesFrom: [],
    isPure: false,
  },
  {
    name: "cli",
    from: ["base", "ports", "core", "wire", "store", "config", "site", "io", "control"],
    typesFrom: [],
    isPure: false,
  },
];

/**
 * What the pure layers do without, and what they take instead. Linted names; the pure tsconfig has no types for most.
 */
export const impureGlobals: readonly { readonly name: string; readonly instead: string }[] = [
  { name: "Date", instead: "the Clock port" },
  { name: "performance", instead: "the Clock port" },
  { name: "setTimeout", instead: "the Clock port or a tick event" },
  { name: "setInterval", instead: "a tick event" },
  { name: "setImmediate", instead: "an event" },
  { name: "queueMicrotask", instead: "an event" },
  { name: "process", instead: "an argument or a port" },
  { name: "console", instead: "the Events port" },
  { name: "crypto", instead: "the Crypto port" },
  { name: "Buffer", instead: "Uint8Array" },
  { name: "fetch", instead: "a port" },
  { name: "Intl", instead: "plain formatting" },
];
