import { GiB, KiB, MiB, TiB } from "#base/limits.ts";

// Sizes and times as people write them in the cluster file and on the command line (INTERFACE, "One file").

/** A quantity that was understood, or why not and how to write it. */
export type Parsed =
  | { readonly ok: true; readonly value: number }
  | { readonly ok: false; readonly reason: string; readonly hint: string };

const sizeUnits = new Map([
  ["KiB", KiB],
  ["MiB", MiB],
  ["GiB", GiB],
  ["TiB", TiB],
]);

const timeUnits = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["min", 60_000],
  ["h", 3_600_000],
]);

/** What people write instead, and what they mean by it. */
const sizeSlips = new Map([
  ["k", "KiB"],
  ["kb", "KiB"],
  ["kib", "KiB"],
  ["m", "MiB"],
  ["mb", "MiB"],
  ["mib", "MiB"],
  ["g", "GiB"],
  ["gb", "GiB"],
  ["gib", "GiB"],
  ["t", "TiB"],
  ["tb", "TiB"],
  ["tib", "TiB"],
]);

const timeSlips = new Map([
  ["m", "min"],
  ["mins", "min"],
  ["minutes", "min"],
  ["sec", "s"],
  ["seconds", "s"],
  ["hours", "h"],
  ["hr", "h"],
  ["msec", "ms"],
]);

const quantity = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/;

/** A size in bytes: a whole number, or a number with `KiB`, `MiB`, `GiB` or `TiB` that makes whole bytes. */
export function parseSize(value: unknown): Parsed {
  const hint = "write bytes, or a number with KiB, MiB, GiB or TiB, such as 64KiB";
  if (typeof value === "number") return wholeNumber(value, value, hint);
  const match = typeof value === "string" ? quantity.exec(value.trim()) : null;
  if (match === null) return { ok: false, reason: `${show(value)} is not a size`, hint };
  const [, digits = "", unit = ""] = match;
  if (unit === "") return wholeNumber(Number(digits), value, hint);
  const factor = sizeUnits.get(unit);
  if (factor !== undefined) return wholeNumber(Number(digits) * factor, value, hint);
  const meant = sizeSlips.get(unit.toLowerCase());
  return {
    ok: false,
    reason: `${show(value)} has the unknown unit "${unit}"`,
    hint: meant === undefined ? hint : `did you mean ${digits}${meant}?`,
  };
}

/** A time in milliseconds: a number with `ms`, `s`, `min` or `h`. Only 0 may go without a unit. */
export function parseDuration(value: unknown): Parsed {
  const hint = "write a number with ms, s, min or h, such as 500ms";
  if (value === 0 || value === "0") return { ok: true, value: 0 };
  const match = typeof value === "string" ? quantity.exec(value.trim()) : null;
  if (match === null) return { ok: false, reason: `${show(value)} is not a time`, hint };
  const [, digits = "", unit = ""] = match;
  const factor = timeUnits.get(unit);
  if (factor !== undefined) return wholeNumber(Number(digits) * factor, value, hint);
  const meant = timeSlips.get(unit.toLowerCase());
  return {
    ok: false,
    reason:
      unit === "" ? `${show(value)} has no unit` : `${show(value)} has the unknown unit "${unit}"`,
    hint: meant === undefined ? hint : `did you mean ${digits}${meant}?`,
  };
}

/** Bytes for people: exact where a unit divides them, else rounded to three figures. */
export function formatSize(bytes: number): string {
  for (const [unit, factor] of [...sizeUnits].reverse()) {
    if (bytes < factor) continue;
    const value = bytes / factor;
    if (Number.isInteger(value)) return `${value}${unit}`;
    return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value)}${unit}`;
  }
  return `${bytes}B`;
}

/** Milliseconds for people, in the largest unit that divides them. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  for (const [unit, factor] of [...timeUnits].reverse()) {
    if (ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms.toFixed(1)}ms`;
}

function wholeNumber(value: number, written: unknown, hint: string): Parsed {
  if (Number.isSafeInteger(value) && value >= 0) return { ok: true, value };
  return { ok: false, reason: `${show(written)} is not a whole number that can be counted`, hint };
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}
