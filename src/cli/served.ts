import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#base/errors.ts";
import { limits } from "#base/limits.ts";
import type { Aim } from "./find-site.ts";
import { askSite } from "./find-site.ts";
import { warn } from "./output.ts";

const pollMs = 50;

/** After a change of role: waits a little until the new primary serves hosts, and tells when it does not by then. */
export async function waitUntilServed(aim: Aim, group: string, site: string): Promise<void> {
  const deadline = performance.now() + limits.handoverAnswerMs;
  for (;;) {
    try {
      const { status } = await askSite(aim.config, site);
      const found = status.groups.find(({ name }) => name === group);
      if (found?.serving === true) return;
      if (performance.now() >= deadline)
        return warn(`${site} does not serve ${group} yet: ${found?.why ?? ""}`);
    } catch (error: unknown) {
      // Its api address may be one of another machine's loopback: then nobody here can see it.
      if (!(error instanceof AppError)) throw error;
      return;
    }
    await sleep(pollMs);
  }
}
