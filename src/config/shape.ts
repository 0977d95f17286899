import type { Document } from "yaml";
import type { z } from "zod";
import type { Place } from "./locate.ts";
import { nearest } from "./nearest.ts";
import type { RawFile } from "./schema.ts";
import { fileSchema, knownKeys } from "./schema.ts";

/** A problem before its line was looked up. */
export type PlacedProblem = {
  readonly place: Place;
  readonly reason: string;
  readonly hint: string | undefined;
};

export type ShapeOutcome =
  | { readonly ok: true; readonly file: RawFile }
  | { readonly ok: false; readonly problems: readonly PlacedProblem[] };

type Issue = z.core.$ZodIssue;

/** Checks keys and values of the file one by one against the schema, and says in plain words what does not fit. */
export function checkShape(document: Document): ShapeOutcome {
  const value: unknown = document.toJS();
  const outcome = fileSchema.safeParse(value);
  if (outcome.success) return { ok: true, file: outcome.data };
  const problems = outcome.error.issues.flatMap((issue) => explain(issue, value));
  return { ok: false, problems: problems.filter((problem) => !isMisspelt(problem, problems)) };
}

/** Whether a key is missing only because it stands there under a name that is nearly right: one mistake, told once. */
function isMisspelt(missing: PlacedProblem, problems: readonly PlacedProblem[]): boolean {
  if (missing.reason !== missingReason) return false;
  const meant = didYouMean(String(missing.place.at(-1)));
  const map = missing.place.slice(0, -1).join("\n");
  return problems.some(
    ({ place, hint }) => hint === meant && place.slice(0, -1).join("\n") === map,
  );
}

const missingReason = "is missing";

function didYouMean(key: string): string {
  return `did you mean ${key}?`;
}

function explain(issue: Issue, value: unknown): readonly PlacedProblem[] {
  const place = issue.path.map((step) => (typeof step === "number" ? step : String(step)));
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => unknownKey([...place, key]));
  }
  const found = valueAt(value, place);
  if (found === undefined || found === null) {
    return [{ place, reason: missingReason, hint: missingHint(issue) }];
  }
  if (issue.code === "custom") {
    const hint = issue.params?.["hint"];
    return [{ place, reason: issue.message, hint: typeof hint === "string" ? hint : undefined }];
  }
  return [{ place, reason: `${show(found)} does not fit here`, hint: expectation(issue) }];
}

function unknownKey(place: Place): PlacedProblem {
  const key = String(place.at(-1));
  const known = knownKeys(place.slice(0, -1));
  const near = nearest(key, known);
  return {
    place,
    reason: "unknown key",
    hint: near === undefined ? `known here: ${known.join(", ")}` : didYouMean(near),
  };
}

function missingHint(issue: Issue): string {
  const expected = expectation(issue);
  return expected === undefined ? "give it a value" : `write it here; ${expected}`;
}

/** What the schema wants at the place, in words. */
function expectation(issue: Issue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${typeWords.get(issue.expected) ?? issue.expected}`;
    case "invalid_value":
      return `expected ${listed(issue.values.map(String))}`;
    case "invalid_union":
      return unionExpectation(issue.errors.flat());
    case "too_small":
      return issue.origin === "string" ? "expected a path" : `expected at least ${issue.minimum}`;
    case "too_big":
      return `expected at most ${issue.maximum}`;
    default:
      return issue.message;
  }
}

function unionExpectation(issues: readonly Issue[]): string {
  const words = issues.map(
    (issue) => expectation(issue)?.replace(/^expected /, "") ?? issue.message,
  );
  return `expected ${listed([...new Set(words)])}`;
}

const typeWords = new Map([
  ["object", "a map of keys and values"],
  ["record", "a map of names and values"],
  ["string", "text"],
  ["number", "a number"],
  ["int", "a whole number"],
  ["boolean", "true or false"],
  ["array", "a list"],
]);

function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function valueAt(value: unknown, place: Place): unknown {
  let found = value;
  for (const step of place) {
    if (typeof found !== "object" || found === null) return undefined;
    found = Object.entries(found).find(([key]) => key === String(step))?.[1];
  }
  return found;
}

function show(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
