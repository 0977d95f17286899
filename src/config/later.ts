import type { RawCopy, RawFile } from "./schema.ts";
import type { PlacedProblem } from "./shape.ts";
import type { Place } from "./locate.ts";

// What the cluster file's language has and this version does not do yet. Each is refused by name, with what works now:
// a key that is taken and has no effect would be a promise broken in silence. A journal's size and overflow are taken
// everywhere: a group whose copies are all `sync` keeps no journal in any version.

/** Every use of a capability that a later version brings. */
export function refuseLater(file: RawFile): readonly PlacedProblem[] {
  return Object.entries(file.groups ?? {}).flatMap(([name, group]) =>
    Object.entries(group.copies ?? {}).flatMap(([site, copy]) =>
      laterInCopy(["groups", name, "copies", site], copy),
    ),
  );
}

function laterInCopy(place: Place, copy: RawCopy): readonly PlacedProblem[] {
  const problems: PlacedProblem[] = [];
  if (copy.transport !== undefined && copy.transport !== "tcp") {
    problems.push({
      place: [...place, "transport"],
      reason: `transport ${copy.transport} is not in this version`,
      hint: "use transport: tcp, or leave it out",
    });
  }
  return problems;
}
