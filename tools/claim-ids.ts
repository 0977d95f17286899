// The ids of what Antipode claims, and how a test cites them.
//
//   F1..F15 B1..B18 S1..S24 A1..A20   capabilities, by family: mirror, bunker, sets, gateway and cycles
//   I1..I36 N1..N8                    invariants
//   row 1..row 58                     rows of the fault matrix
//
// A test's name cites ids in front of a colon or in brackets: `F4: ...`, `I1, I16: ...`, `... [F7, I18]`. A row is
// cited wherever it is named: `row 8: ...`, `a cut in mid-frame (rows 22, 31)`. A checker of the simulator is an id by
// itself.

const families: readonly (readonly [prefix: string, count: number])[] = [
  ["F", 15],
  ["B", 18],
  ["S", 24],
  ["A", 20],
  ["I", 36],
  ["N", 8],
  ["row ", 58],
];

/** Every id there is, in the order in which they are listed. */
export const allIds: readonly string[] = families.flatMap(([prefix, count]) =>
  Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`),
);

/** Ids that a name cites, also such as do not exist: that is for the caller to report. */
export function citedIds(name: string): string[] {
  const idList = String.raw`(?:[FBSAIN]\d+|rows? \d+|\d+)(?:(?:,| and|, and) (?:[FBSAIN]\d+|rows? \d+|\d+))*`;
  const places = [
    ...name.matchAll(new RegExp(`^(${idList}):`, "g")),
    ...name.matchAll(new RegExp(String.raw`\[(${idList})\]`, "g")),
    ...name.matchAll(/\b(rows? \d+(?:(?:,| and|, and) \d+)*)\b/g),
  ];
  return [...new Set(places.flatMap(([, list = ""]) => idsOfList(list)))];
}

/** `F4, I16` and `rows 8, 9 and 10` taken apart; a bare number belongs to the rows before it, or to nothing. */
function idsOfList(list: string): string[] {
  if (!/[FBSAIN]|row/.test(list)) return [];
  const tokens = list.match(/[FBSAIN]\d+|\d+/g) ?? [];
  return tokens.map((token) => (/^\d/.test(token) ? `row ${token}` : token));
}

/** `["F1-F3", "I8", "row 7"]` written out. Throws on what is no id, so that a slip in a list is not a silent gap. */
export function expandIds(ranges: readonly string[]): string[] {
  return ranges.flatMap((range) => {
    const [first = "", last = first] = range.split("-");
    const from = allIds.indexOf(first);
    const to = allIds.indexOf(last);
    const isRange = from >= 0 && to >= from && familyOf(first) === familyOf(last);
    if (!isRange) throw new Error(`'${range}' names no claims`);
    return allIds.slice(from, to + 1);
  });
}

function familyOf(id: string): string {
  return id.replace(/\d+$/, "");
}
