import { utf8 } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import type { CopyConfig, GroupConfig } from "#config/types.ts";
import { lossTable, policyTable } from "#core/policy.ts";
import type { Crypto } from "#ports/crypto.ts";

// The settings of a group: the part of its configuration that holds at all of its sites. The primary keeps them in its record
// under a revision, and tells the other sites; where a site's file says otherwise, they rule until a reload takes the file.

export type GroupSettings = Pick<GroupConfig, "copies" | "durability" | "journal">;

/** As text: what the record keeps and what other sites are told. */
export function encodeSettings(config: GroupSettings): string {
  const { durability, journal } = config;
  const copies = [...config.copies.values()].map((copy) => inOrder(copy));
  return JSON.stringify({ durability, journal: inOrder(journal), copies });
}

/** Whether two files mean the same: the order of keys and of copies does not count. */
export function digestOf(config: GroupSettings, crypto: Crypto): string {
  const copies = [...config.copies].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const hash = crypto.hash64(utf8(encodeSettings({ ...config, copies: new Map(copies) })));
  return hash.toString(16).padStart(16, "0");
}

/** Settings as another site tells them; undefined where they are none that this version knows. */
export function decodeSettings(text: string): GroupSettings | undefined {
  if (text.length > limits.settingsBytesMax) return undefined;
  const value = parsed(text);
  if (!isFields(value) || !isFields(value["journal"]) || !Array.isArray(value["copies"]))
    return undefined;
  const { durability, copies } = value;
  const { bytesMax, overflow } = value["journal"];
  if (durability !== "flush" && durability !== "write") return undefined;
  if (!isNumber(bytesMax) || !isOneOf(overflow, overflows)) return undefined;
  if (copies.length > limits.copiesPerGroupMax) return undefined;
  const decoded = new Map<string, CopyConfig>();
  for (const copy of copies) {
    if (!isCopy(copy)) return undefined;
    decoded.set(copy.site, copy);
  }
  return { durability, journal: { bytesMax, overflow }, copies: decoded };
}

/** The group as it runs: what the settings say, and the rest from this site's file. */
export function withSettings(file: GroupConfig, settings: GroupSettings): GroupConfig {
  return { ...file, ...settings };
}

// Keys by name, so that equal settings are equal text. What is not set is not there.
function inOrder(fields: object): Record<string, unknown> {
  const entries = Object.entries(fields).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    entries.map(([key, value]: [string, unknown]) => [
      key,
      isFields(value) ? inOrder(value) : value,
    ]),
  );
}

const overflows = ["trip", "stall", "fail"] as const;

type Check = (value: unknown) => boolean;

/** What each option of a copy may be. An option that is not here is not told. */
const copyChecks: Readonly<Record<keyof CopyConfig, Check>> = {
  site: isName,
  mode: (value) => isOneOf(value, Object.keys(policyTable)),
  onLoss: (value) => isOneOf(value, Object.keys(lossTable)),
  ackTimeoutMs: isNumber,
  resume: (value) => isOneOf(value, ["auto", "manual"]),
  preserveBytesMax: isNumberOrNone,
  rpoMs: isNumberOrNone,
  probeMs: isNumber,
  timeoutMs: isNumber,
  seal: isSeal,
  ackAt: (value) => isOneOf(value, [undefined, "switch", "journal"]),
  staging: (value) => isOneOf(value, ["durable", "memory"]),
  through: (value) => value === undefined || isName(value),
  isRelay: (value) => value === undefined || value === true,
  connections: (value) => isNumber(value) && value >= 1 && value <= limits.sessionLanesMax,
  compress: (value) => isOneOf(value, [undefined, "on", "auto"]),
  replayAfterMs: isNumberOrNone,
  rateBytesPerSecond: isNumberOrNone,
};

function isCopy(value: unknown): value is CopyConfig {
  if (!isFields(value)) return false;
  return Object.entries(copyChecks).every(([key, check]) => check(value[key]));
}

function isSeal(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { everyMs, bytesMax, onFlush } = value;
  return isNumber(everyMs) && isNumber(bytesMax) && isOneOf(onFlush, [true, false, "only"]);
}

function isName(value: unknown): boolean {
  return typeof value === "string" && value.length > 0 && value.length <= limits.nameBytesMax;
}

function isNumberOrNone(value: unknown): boolean {
  return value === undefined || isNumber(value);
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

function isOneOf<T>(value: unknown, known: readonly T[]): value is T {
  return known.some((one) => one === value);
}

function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Another site's nonsense is told by what is made of it: no settings.
    return undefined;
  }
}
