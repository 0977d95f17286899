import { AppError } from "#base/errors.ts";
import { loadConfig, withSecret } from "#control/load-config.ts";
import type { RunningSite } from "#control/start-site.ts";
import { startSite } from "#control/start-site.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import type { GlobalOptions } from "./context.ts";
import { exitCodes, say, warn } from "./output.ts";
import { stopSignal } from "./stop-signal.ts";

export type ServeOptions = GlobalOptions & {
  readonly trace?: string;
  /** Stops when standard input ends, so that a child never outlives the demo that started it. */
  readonly stdinPipe?: boolean;
};

/** `antipode serve`: runs a site until SIGTERM or SIGINT stops it cleanly; a second signal ends the process at once. */
export async function serve(
  options: ServeOptions,
  createSite: (options: SiteOptions) => Site,
): Promise<number> {
  const plain = loadConfig(options.config);
  if (options.site === undefined) {
    throw new AppError("usage", "serve needs to know which site it is", {
      hint: `antipode serve --site NAME, with one of: ${[...plain.sites.keys()].join(", ")}`,
    });
  }
  const { config, warnings } = withSecret(plain);
  for (const warning of warnings) warn(warning);

  const stop = options.stdinPipe === true ? Promise.race([stopSignal(), stdinEnd()]) : stopSignal();
  const starting = startSite({
    config,
    site: options.site,
    createSite,
    ...(options.trace === undefined ? {} : { tracePath: options.trace }),
    onTrouble: warn,
  });
  // A start can wait for peers for as long as it takes; a signal must end it all the same.
  const site = await Promise.race([starting, stop.then(() => undefined)]);
  if (site === undefined) return exitCodes.done;
  say(readyLine(options.site, site));
  await stop;
  await site.stop();
  return exitCodes.done;
}

/** The line that scripts wait for (INTERFACE, `serve`). */
function readyLine(name: string, { addresses }: Pick<RunningSite, "addresses">): string {
  const nbd = addresses.nbd.length === 0 ? "none" : addresses.nbd.join(",");
  return `ready site=${name} nbd=${nbd} api=${addresses.api} peer=${addresses.peer}`;
}

/** Resolves when standard input ends: whoever holds its other end has gone, or asks us to go. */
function stdinEnd(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  process.stdin.on("end", resolve).on("error", resolve).resume();
  return promise;
}
