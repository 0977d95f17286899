import fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { findDataOwner } from "#io/data-lock.ts";
import type { Folder } from "#ports/file.ts";
import type { GlobalOptions } from "./context.ts";
import { openReadOnly } from "./inspect-folder.ts";
import { exitCodes, say, sayJson } from "./output.ts";
import { formatTable } from "./table.ts";

export type InspectOptions = GlobalOptions & {
  readonly journal?: boolean;
  readonly bitmap?: boolean;
  readonly sets?: boolean;
};

/** Reads a group's folder as it lies on the disk and reports plain data; fields named like a detail may be long. */
export type InspectGroup = (folder: Folder) => object & {
  /** Something could not be read: of a site that runs, perhaps because it was writing it just then. */
  readonly isDamaged?: boolean;
};

const inspectHint = "name a site's data folder, or a group's folder in it";

/** Parts of a report that are shown only when asked for. */
const details = ["journal", "bitmap", "sets"] as const;

/** Looks at a group of a site that runs before what seems damaged is called so, and how long it waits in between. */
const looksMax = 3;
const lookAgainMs = 20;

/**
 * `antipode inspect`: what lies in a site's data folder, or in one group's folder there. PATH is taken for a site's folder when
 * none of its own files make it a group's. It only reads: a site may run meanwhile, and then the report says so.
 */
export async function inspect(
  path: string,
  options: InspectOptions,
  inspectGroup: InspectGroup,
): Promise<number> {
  const folders = groupFolders(path);
  const owner = (await findDataOwner(path)) ?? (await findDataOwner(dirname(resolve(path))));
  const reports: [string, unknown][][] = [];
  for (const folder of folders) {
    const report = await look(folder, owner !== undefined, inspectGroup);
    reports.push(Object.entries({ folder, ...report }).filter((entry) => wanted(entry, options)));
  }
  if (options.json === true) {
    const running =
      owner === undefined ? { running: false } : { running: true, process: Number(owner) };
    const groups = reports.map((report) => Object.fromEntries(report));
    sayJson({ path, ...running, groups });
    return exitCodes.done;
  }
  if (owner !== undefined) say(runningWords(owner));
  for (const report of reports) for (const line of describeReport(report)) say(line);
  return exitCodes.done;
}

function runningWords(owner: string): string {
  return (
    `running: process ${owner} has this data folder, so these are figures of the moment; ` +
    "what it is writing just now may look like damage at the end of a log"
  );
}

/** A group's report. What a site that runs is writing looks damaged for a moment, and is looked at again. */
async function look(path: string, isRunning: boolean, inspectGroup: InspectGroup): Promise<object> {
  for (let looks = 1; ; looks += 1) {
    const { isDamaged, ...report } = inspectGroup(openReadOnly(path));
    if (isDamaged !== true || !isRunning || looks === looksMax) return report;
    await delay(lookAgainMs);
  }
}

/** A report as text: plain values by line, lists of records as tables, anything nested further in. */
export function describeReport(
  report: readonly (readonly [string, unknown])[],
  indent = "",
): readonly string[] {
  return report.flatMap(([key, value]) => {
    if (Array.isArray(value)) {
      return [`${indent}${key}: ${value.length}`, ...describeList(value, `${indent}  `)];
    }
    if (typeof value === "object" && value !== null) {
      return [`${indent}${key}:`, ...describeReport(Object.entries(value), `${indent}  `)];
    }
    return [`${indent}${key}: ${String(value)}`];
  });
}

function describeList(values: readonly unknown[], indent: string): readonly string[] {
  const records = values.filter((value) => typeof value === "object" && value !== null);
  if (values.length === 0) return [];
  if (records.length < values.length) return values.map((value) => indent + JSON.stringify(value));
  const keys = [...new Set(records.flatMap((record) => Object.keys(record)))];
  const cell = (record: object, key: string): string => {
    const value: unknown = Object.entries(record).find(([name]) => name === key)?.[1];
    if (value === undefined) return "";
    return typeof value === "string" ? value : JSON.stringify(value);
  };
  return formatTable(
    [keys, ...records.map((record) => keys.map((key) => cell(record, key)))],
    indent,
  );
}

function wanted([key, value]: readonly [string, unknown], options: InspectOptions): boolean {
  // What goes with a detail is shown with it, where there is anything to say.
  if (key.endsWith("NotShown") && value === 0) return false;
  const detail = details.find((name) => name === key || `${name}NotShown` === key);
  return detail === undefined || options[detail] === true;
}

function groupFolders(path: string): readonly string[] {
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(path, { withFileTypes: true });
  } catch (error: unknown) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AppError("usage", `${path} cannot be inspected: ${reason}`, {
      hint: inspectHint,
      cause: error,
    });
  }
  const folders = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(path, name));
  if (folders.length > 0) return folders.toSorted();
  if (entries.some(({ name }) => /\.(?:record|map|log|owner)$/.test(name))) return [path];
  throw new AppError("usage", `there is nothing of a group in ${path}`, { hint: inspectHint });
}
