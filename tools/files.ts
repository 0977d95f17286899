// Which files of the checkout are ours.

import { globSync } from "node:fs";
import { dirname } from "node:path";

/** The checkout. */
export const root = dirname(import.meta.dirname);

/** The folders that hold code, for every tool that walks over them. */
export const codeFolders = ["src", "sim", "test", "bench", "tools"] as const;

/** Paths from the root, in order, of the files with one of these endings in the code folders. */
export function listFiles(...endings: readonly string[]): string[] {
  const patterns = codeFolders.flatMap((folder) => endings.map((end) => `${folder}/**/*${end}`));
  return globSync(patterns, { cwd: root, exclude: ["**/node_modules/**"] }).toSorted();
}
