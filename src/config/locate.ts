import type { Document, LineCounter, Node } from "yaml";
import { isMap, isPair, isScalar, isSeq } from "yaml";

/** Something wrong with the file: where, what, and what to do about it. */
export type ConfigProblem = {
  readonly line: number;
  /** Keys from the top of the file, joined by dots; empty for the file itself. */
  readonly place: string;
  readonly reason: string;
  readonly hint: string | undefined;
};

/** A place in the file: keys of maps and indices of lists from the top. */
export type Place = readonly (string | number)[];

/**
 * The line of the deepest part of a place that the file has. A key that is missing is so reported at the map that
 * should hold it, and a key that is too many at itself.
 */
export function lineOf(document: Document, lines: LineCounter, place: Place): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const step of place) {
    const next = descend(node, step);
    if (next === undefined) break;
    offset = next.offset;
    node = next.node;
  }
  return lines.linePos(offset).line;
}

/** A place as a person reads it: `groups.bank.copies.west`. */
export function formatPlace(place: Place): string {
  return place.join(".");
}

/** A problem as one line of text, file and line first, so that editors and people can jump there. */
export function formatProblem(path: string, problem: ConfigProblem): string {
  const where = problem.place === "" ? "" : `${problem.place}: `;
  return `${path}:${problem.line}: ${where}${problem.reason}`;
}

function descend(
  node: unknown,
  step: string | number,
): { readonly node: unknown; readonly offset: number } | undefined {
  if (isMap(node)) {
    const pair = node.items.find((item) => isPair(item) && keyText(item.key) === String(step));
    if (pair === undefined) return undefined;
    return { node: pair.value, offset: startOf(pair.key) ?? startOf(pair.value) ?? 0 };
  }
  if (isSeq(node)) {
    const item = node.items[Number(step)];
    const offset = startOf(item);
    return offset === undefined ? undefined : { node: item, offset };
  }
  return undefined;
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
