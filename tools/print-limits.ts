// Prints docs/limits.md from src/base/limits.ts: `node tools/print-limits.ts --write` after a limit changed.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GiB, KiB, limits, MiB, TiB } from "#base/limits.ts";
import { root } from "./files.ts";

const opening = `# Limits

Printed from \`src/base/limits.ts\` by \`tools/print-limits.ts\`; change it there. Every queue, table and buffer has a limit,
and what is beyond it waits, is refused or ends a connection; it never grows.
`;

/** The page as it should be. Headings are the plain comments between the limits, meanings are their doc comments. */
export function limitsPage(): string {
  const source = readFileSync(join(root, "src/base/limits.ts"), "utf8");
  const lines = [opening];
  let meaning = "";
  let inTable = false;
  for (const line of source.slice(source.indexOf("export const limits")).split("\n")) {
    const heading = /^ {2}\/\/ (.+)$/.exec(line)?.[1];
    const comment = /^ {2}\/\*\* (.+) \*\/$/.exec(line)?.[1];
    const name = /^ {2}(\w+):/.exec(line)?.[1];
    if (heading !== undefined) {
      lines.push("", `## ${heading}`, "");
      inTable = false;
    } else if (comment !== undefined) {
      meaning = comment;
    } else if (name !== undefined) {
      if (!inTable) lines.push("| limit | value | meaning |", "| --- | --- | --- |");
      inTable = true;
      lines.push(`| \`${name}\` | ${formatLimit(name)} | ${meaning} |`);
      meaning = "";
    }
  }
  return `${lines.join("\n")}\n`;
}

function formatLimit(name: string): string {
  const value = (limits as Readonly<Record<string, number>>)[name];
  if (value === undefined) throw new Error(`${name} looks like a limit of limits.ts but is none`);
  if (/Bytes/.test(name)) return formatBytes(value);
  if (/Ms(?:Min|Max)?$/.test(name)) return value % 1000 === 0 ? `${value / 1000} s` : `${value} ms`;
  if (/Micros/.test(name)) return `${value} µs`;
  return String(value);
}

function formatBytes(value: number): string {
  const units = [
    ["TiB", TiB],
    ["GiB", GiB],
    ["MiB", MiB],
    ["KiB", KiB],
  ] as const;
  const fit = units.find(([, bytes]) => value >= bytes && value % bytes === 0);
  return fit === undefined ? `${value} B` : `${value / fit[1]} ${fit[0]}`;
}

if (import.meta.main) {
  if (process.argv.includes("--write")) writeFileSync(join(root, "docs/limits.md"), limitsPage());
  else process.stdout.write(limitsPage());
}
