import { AppError } from "#base/errors.ts";
import type { Address } from "#config/addresses.ts";
import { parseAddress } from "#config/addresses.ts";
import type { Config, SiteConfig } from "#config/types.ts";
import { takeDataLock } from "#io/data-lock.ts";
import { type Listener, listen } from "#io/listen.ts";
import { type NbdServer, startNbdServer } from "#io/nbd-server.ts";
import { ReceivedMemory } from "#io/received-memory.ts";
import { createSitePorts } from "#io/site-ports.ts";
import type { CommandOutcome, SiteCommand, SiteStatus } from "#site/api.ts";
import type { Site, SiteOptions } from "#site/site.ts";
import type { Engine } from "./bridge.ts";
import { watchRuntime } from "./engine-runtime.ts";
import type { EventLog } from "./event-log.ts";
import { createEventLog } from "./event-log.ts";
import { boundRepeats } from "./event-repeats.ts";
import { withUris } from "./export-uri.ts";
import { withHooks } from "./hooks.ts";
import { readAgain } from "./load-config.ts";
import { objectivesOf } from "./objectives.ts";
import { startApi } from "./start-api.ts";
import { openTraceFile } from "./trace-file.ts";
import { readVersion } from "./version.ts";

export type StartOptions = {
  /** With the secret read, where there is one (`withSecret`). */
  readonly config: Config;
  readonly site: string;
  /** Makes the engine; the real one is `createSite` of site/site.ts. */
  readonly createSite: (options: SiteOptions) => Site;
  /** File for `serve --trace`. */
  readonly tracePath?: string;
  /** Trouble that the site lives with and a person should hear of. */
  readonly onTrouble: (message: string) => void;
};

export type RunningSite = {
  /** Where it listens, each as one would dial it. */
  readonly addresses: {
    readonly nbd: readonly string[];
    readonly api: string;
    readonly peer: string;
  };
  status(): SiteStatus;
  command(command: SiteCommand): Promise<CommandOutcome>;
  /** Ends host connections, syncs, records a clean stop, and frees folder and addresses. */
  stop(): Promise<void>;
};

/** The configuration as the last reload left it. */
type Live = { config: Config };

/** What is undone, last first, when the site stops or its start fails half-way. */
type Cleanup = { readonly name: string; readonly run: () => void | Promise<void> };

/**
 * Runs one site in this process: engine, peers, exports, and the API in a thread of its own. Resolves once every group
 * has found its role and everything listens.
 *
 * Rejects with an `AppError` when the data folder or an address is taken, or the site's data cannot be opened; nothing
 * is left running then.
 */
export async function startSite(options: StartOptions): Promise<RunningSite> {
  const cleanups: Cleanup[] = [];
  const undo = async (): Promise<void> => {
    for (const { name, run } of cleanups.splice(0).reverse()) {
      try {
        await run();
      } catch (error: unknown) {
        // The rest must be freed all the same.
        options.onTrouble(
          `${name} did not stop cleanly: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  };
  try {
    return await compose(options, cleanups, undo);
  } catch (error: unknown) {
    await undo();
    throw error;
  }
}

async function compose(
  options: StartOptions,
  cleanups: Cleanup[],
  undo: () => Promise<void>,
): Promise<RunningSite> {
  const { config, onTrouble } = options;
  const live: Live = { config };
  const own = ownSite(config, options.site);
  const lock = takeDataLock(own.data);
  cleanups.push({ name: "the data folder", run: () => lock.release() });

  const events = createEventLog({
    folder: own.data,
    site: own.name,
    wallMs: () => Date.now(),
    onTrouble,
  });
  cleanups.push({ name: "the event log", run: () => events.close() });

  // One for all who receive and send: what a front received is sent on to peers.
  const memory = new ReceivedMemory();
  const site = await createEngine(options, { events, memory, live }, cleanups);
  const started = Promise.withResolvers<string | undefined>();
  const fronts: Fronts = { peer: undefined, nbd: undefined };
  cleanups.push({ name: "the site", run: () => stopSite(site, fronts) });
  site.start(started.resolve);

  // Groups may need their peers to find their roles, so everything listens before the start has ended.
  const peer = await listen({
    address: own.peer,
    memory,
    onConnection: (connection) => site.accept(connection),
    onTrouble,
  });
  fronts.peer = peer;
  const nbd = await startNbdServer({
    addresses: own.nbd,
    exports: site.exports,
    memory,
    events,
    onError: (error) => onTrouble(error.message),
  });
  fronts.nbd = nbd;
  const engine = engineOf(site, events, nbd.addresses);
  await startEngineApi(options, addressOf(own.api), { engine, events, live }, cleanups);

  const failure = await started.promise;
  if (failure !== undefined)
    throw new AppError("failed", `site ${own.name} cannot start: ${failure}`);
  return {
    addresses: { nbd: nbd.addresses, api: own.api, peer: peer.address },
    status: engine.status,
    command: (command) => new Promise((resolve) => site.command(command, resolve)),
    stop: undo,
  };
}

/** Makes ports and engine. The ports' timers and the trace end after the engine has. */
async function createEngine(
  options: StartOptions,
  {
    events,
    memory,
    live,
  }: { readonly events: EventLog; readonly memory: ReceivedMemory; readonly live: Live },
  cleanups: Cleanup[],
): Promise<Site> {
  const { config, site: name, tracePath, onTrouble } = options;
  const trace =
    tracePath === undefined
      ? undefined
      : openTraceFile({ path: tracePath, nowMs: () => performance.now(), onTrouble });
  if (trace !== undefined) cleanups.push({ name: "the trace", run: () => trace.close() });
  const bound = boundRepeats((record) => events.emit(record));
  cleanups.push({ name: "the events left out", run: () => bound.close() });
  const hooked = withHooks({ config: () => live.config, site: name, events: bound, onTrouble });
  const ports = await createSitePorts({ config, site: name, events: hooked, trace, memory });
  return options.createSite({
    config,
    name,
    version: readVersion(),
    ports,
    readFile: () => readAgain(live.config),
    onReloaded: (now) => {
      live.config = now;
    },
  });
}

/** The engine as the API is to see it: with the addresses that only this file knows. */
function engineOf(
  site: Site,
  events: EventLog,
  nbdAddresses: readonly string[],
): Omit<Engine, "runtime" | "objectives"> {
  return {
    status: () => withUris(site.status(), nbdAddresses),
    command: (command, done) => site.command(command, done),
    events: (query) => events.query(query),
  };
}

async function startEngineApi(
  options: StartOptions,
  address: Address,
  parts: {
    readonly engine: Omit<Engine, "runtime" | "objectives">;
    readonly events: EventLog;
    readonly live: Live;
  },
  cleanups: Cleanup[],
): Promise<void> {
  const { engine, events, live } = parts;
  const runtime = watchRuntime();
  cleanups.push({ name: "the loop's monitor", run: () => runtime.close() });
  const api = await startApi({
    address,
    engine: {
      ...engine,
      runtime: () => runtime.read(),
      objectives: () => objectivesOf(live.config),
    },
    onTrouble: options.onTrouble,
  });
  cleanups.push({ name: "the API", run: () => api.stop() });
  events.follow((event) => api.publish(event));
}

/** What listens on the engine's behalf, once it does. */
type Fronts = { peer: Listener | undefined; nbd: NbdServer | undefined };

/**
 * Host requests under way may need the engine to end, and the engine its peers; so hosts and engine stop together and
 * the peers' connections go last.
 */
async function stopSite(site: Site, { peer, nbd }: Fronts): Promise<void> {
  const stopped = new Promise<void>((resolve) => site.stop(resolve));
  await Promise.all([stopped, nbd?.close()]);
  await peer?.close();
}

function ownSite(config: Config, name: string): SiteConfig {
  const own = config.sites.get(name);
  if (own !== undefined) return own;
  throw new AppError("usage", `${config.path} has no site ${JSON.stringify(name)}`, {
    hint: `sites of the file: ${[...config.sites.keys()].join(", ")}`,
  });
}

function addressOf(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed.ok) return parsed.address;
  throw new AppError("config", parsed.reason, { hint: parsed.hint });
}
