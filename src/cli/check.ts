import { resolve } from "node:path";
import { formatProblem } from "#config/locate.ts";
import { ackedBy, describePromise, describeWarnings } from "#config/promise.ts";
import type { GroupConfig } from "#config/types.ts";
import { describeAbsent, inspectConfig } from "#control/load-config.ts";
import type { GlobalOptions } from "./context.ts";
import { exitCodes, say, sayError, sayJson, warn } from "./output.ts";

/** `antipode check`: every problem of the file, or one line per group that says what it promises. */
export async function check(options: GlobalOptions): Promise<number> {
  const outcome = inspectConfig(options.config);
  const file = resolve(options.config);
  if (!outcome.ok) {
    if (options.json === true) sayJson({ ok: false, file, problems: outcome.problems });
    for (const problem of outcome.problems) {
      sayError(formatProblem(options.config, problem), problem.hint);
    }
    return exitCodes.usage;
  }
  const { config } = outcome;
  const groups = [...config.groups.values()];
  const warnings = [...describeWarnings(config), ...describeAbsent(config)];
  if (options.json === true) {
    sayJson({ ok: true, file, cluster: config.cluster, groups: groups.map(promiseJson), warnings });
    return exitCodes.done;
  }
  for (const group of groups) say(describePromise(group));
  if (groups.length === 0) say(`${config.cluster}: no groups`);
  for (const warning of warnings) warn(warning);
  return exitCodes.done;
}

function promiseJson(group: GroupConfig): unknown {
  return {
    name: group.name,
    promise: describePromise(group),
    durability: group.durability,
    ackedBy: ackedBy(group),
    // Of a copy that follows, the lag is what would be lost; no number promises that.
    rpoSeconds: ackedBy(group).length > 1 ? 0 : null,
  };
}
