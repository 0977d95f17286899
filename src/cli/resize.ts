import { AppError } from "#base/errors.ts";
import { formatSize, parseSize } from "#config/units.ts";
import { commandGroup } from "./client.ts";
import { aimOf } from "./context.ts";
import type { GlobalOptions } from "./context.ts";
import { findPrimary } from "./find-site.ts";
import { doneLine, tell } from "./group-commands.ts";

export type ResizeOptions = GlobalOptions & {
  readonly dryRun?: boolean;
  readonly timeout?: number;
};

/** `antipode resize`: a volume grows at every copy, then at the group's primary, and hosts that connect then see it. */
export async function resize(name: string, size: string, options: ResizeOptions): Promise<number> {
  const slash = name.indexOf("/");
  const [group, volume] = [name.slice(0, Math.max(0, slash)), name.slice(slash + 1)];
  if (group === "" || volume === "" || volume.includes("/"))
    throw new AppError("usage", `${JSON.stringify(name)} names no volume`, {
      hint: "write GROUP/VOLUME, such as bank/data",
    });
  const parsed = parseSize(size);
  if (!parsed.ok) throw new AppError("usage", parsed.reason, { hint: parsed.hint });
  const bytes = parsed.value;
  const found = await findPrimary(aimOf(options), group);
  const command = {
    kind: "resize",
    group,
    volume,
    bytes,
    dryRun: options.dryRun ?? false,
  } as const;
  const outcome = await commandGroup(found.api, command, options.timeout);
  return tell(outcome, doneLine(options, `${name} has ${formatSize(bytes)}`), options);
}
