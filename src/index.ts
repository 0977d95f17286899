// What `import { ... } from "antipode"` offers: the parts that the command itself is built of (INTERFACE, "Library use").

import { loadConfig, withSecret } from "#control/load-config.ts";
import type { RunningSite } from "#control/start-site.ts";
import { startSite as composeSite } from "#control/start-site.ts";
import { createSite } from "#site/site.ts";

export { AppError, type ErrorCode } from "#base/errors.ts";
export type { Config, CopyConfig, GroupConfig, SiteConfig, VolumeConfig } from "#config/types.ts";
export type { ConfigProblem } from "#config/locate.ts";
export { inspectConfig, loadConfig } from "#control/load-config.ts";
export { missedObjectives, objectivesOf, type Complaint } from "#control/objectives.ts";
export type { RunningSite } from "#control/start-site.ts";
export type { StampedEvent } from "#control/event-log.ts";
export type {
  CommandOutcome,
  CopyStatus,
  GroupStatus,
  SiteCommand,
  SiteStatus,
} from "#site/api.ts";
export { commandGroup, readEvents, readStatus } from "#cli/client.ts";

/**
 * Runs a site of a cluster file in this process: engine, peers, NBD exports and the control API. Resolves once it serves;
 * its `stop` ends everything cleanly.
 *
 * Rejects with an `AppError`: `config` when the file or its secret is wrong, `usage` when it has no such site, `failed` when
 * the data folder or an address is taken. `onTrouble` hears of what the site lives with.
 */
export async function startSite(options: {
  readonly configPath: string;
  readonly site: string;
  readonly tracePath?: string;
  readonly onTrouble?: (message: string) => void;
}): Promise<RunningSite> {
  const onTrouble = options.onTrouble ?? ((message: string) => process.emitWarning(message));
  const { config, warnings } = withSecret(loadConfig(options.configPath));
  for (const warning of warnings) onTrouble(warning);
  const { site, tracePath } = options;
  return composeSite({
    config,
    site,
    createSite,
    onTrouble,
    ...(tracePath === undefined ? {} : { tracePath }),
  });
}
