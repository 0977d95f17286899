import type { Document } from "yaml";
import { isMap, isPair, isScalar, LineCounter, parseDocument, visit } from "yaml";
import { limits } from "#base/limits.ts";
import type { ResolvePath } from "./build.ts";
import { buildConfig } from "./build.ts";
import { refuseLater } from "./later.ts";
import type { ConfigProblem, Place } from "./locate.ts";
import { formatPlace, lineOf } from "./locate.ts";
import { checkPlaces } from "./places.ts";
import { checkRules } from "./rules.ts";
import type { PlacedProblem } from "./shape.ts";
import { checkShape } from "./shape.ts";
import type { Config } from "./types.ts";

export type ConfigSource = {
  /** Where the text came from; the configuration and messages name it. */
  readonly path: string;
  readonly text: string;
  readonly resolvePath: ResolvePath;
};

export type ConfigOutcome =
  | {
      readonly ok: true;
      readonly config: Config;
      /** The line of a place of the file, for whoever finds something wrong there later. */
      readonly lineOf: (place: Place) => number;
    }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/**
 * Reads the text of a cluster file (INTERFACE, "One file describes the whole cluster"): all of its problems at once in
 * the order of the file, or the configuration with every default filled in. The secret's own file is not opened.
 */
export function parseConfig(source: ConfigSource): ConfigOutcome {
  if (source.text.length > limits.configBytesMax) {
    const reason = `is larger than the ${limits.configBytesMax} bytes that a cluster file may have`;
    return { ok: false, problems: [{ line: 1, place: "", reason, hint: "is it the right file?" }] };
  }
  const lines = new LineCounter();
  const document = parseDocument(source.text, { lineCounter: lines, prettyErrors: false });
  const syntax = checkSyntax(document, lines);
  if (syntax.length > 0) return { ok: false, problems: syntax };

  const located = (problems: readonly PlacedProblem[]): ConfigOutcome => ({
    ok: false,
    problems: problems
      .map(({ place, reason, hint }) => ({
        line: lineOf(document, lines, place),
        place: formatPlace(place),
        reason,
        hint,
      }))
      .sort((a, b) => a.line - b.line),
  });
  const shape = checkShape(document);
  if (!shape.ok) return located(shape.problems);
  const config = buildConfig(shape.file, source.path, source.resolvePath);
  const problems = [...refuseLater(shape.file), ...checkRules(shape.file), ...checkPlaces(config)];
  if (problems.length > 0) return located(problems);
  return { ok: true, config, lineOf: (place) => lineOf(document, lines, place) };
}

function checkSyntax(document: Document, lines: LineCounter): readonly ConfigProblem[] {
  const at = (offset: number, reason: string, hint: string): ConfigProblem => ({
    line: lines.linePos(offset).line,
    place: "",
    reason,
    hint,
  });
  // What follows the first error of syntax is mostly its consequence.
  const [broken] = [...document.errors, ...document.warnings];
  if (broken !== undefined) {
    const hint = "mind the indentation and the colons";
    return [at(broken.pos[0], `this is not YAML: ${broken.message}`, hint)];
  }
  if (!isMap(document.contents)) {
    const hint = "begin with cluster:, sites: and groups:";
    return [
      at(0, document.contents === null ? "the file is empty" : "the file is no map of keys", hint),
    ];
  }
  const odd: ConfigProblem[] = [];
  visit(document, {
    Alias: (_, alias) => {
      odd.push(at(alias.range?.[0] ?? 0, "aliases are not taken here", "write the value out"));
    },
    Pair: (_, pair) => {
      if (!isPair(pair) || (isScalar(pair.key) && pair.key.value !== "__proto__")) return;
      const offset = isScalar(pair.key) ? (pair.key.range?.[0] ?? 0) : 0;
      odd.push(at(offset, "this cannot be a key", "keys are plain words"));
    },
  });
  return odd;
}
