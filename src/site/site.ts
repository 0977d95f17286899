import type { Config } from "#config/types.ts";
import type { Connection, ConnectionEvents } from "#ports/transport.ts";
import type { Exports } from "#ports/exports.ts";
import type { CommandOutcome, SiteCommand, SiteStatus } from "#site/api.ts";
import type { SitePorts } from "#site/ports.ts";

/** One running site: all its groups, in whatever role each has. Nothing in it reads a clock or opens a file by itself. */
export type Site = {
  /** Opens all groups and begins. `done` is called when every group has found its role; exports may still wait for peers. */
  start(done: (failure: string | undefined) => void): void;
  /** A peer has connected. The listener is the caller's. */
  accept(connection: Connection): ConnectionEvents;
  readonly exports: Exports;
  status(): SiteStatus;
  command(command: SiteCommand, done: (outcome: CommandOutcome) => void): void;
  /** Stops taking requests, finishes those under way, syncs, records a clean stop. */
  stop(done: () => void): void;
};

export type SiteOptions = {
  readonly config: Config;
  readonly name: string;
  readonly version: string;
  readonly ports: SitePorts;
};

export declare function createSite(options: SiteOptions): Site;
