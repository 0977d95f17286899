// The cluster file after it was read and checked: sizes in bytes, times in milliseconds, paths absolute, defaults
// filled in. `parse.ts` makes it from antipode.yaml; everything else only reads it.

export type Config = {
  /** Where the file lies, for messages. */
  readonly path: string;
  readonly cluster: string;
  readonly sites: ReadonlyMap<string, SiteConfig>;
  readonly groups: ReadonlyMap<string, GroupConfig>;
  /** The 256-bit secret that the sites share, or undefined: then only loopback addresses are accepted. */
  readonly secret: Uint8Array | undefined;
  /** The secret's file, left out when the sites share none. `secret` is filled from it where a site is to be run. */
  readonly secretPath?: string;
  /** Accepts addresses beyond loopback without a secret. */
  readonly insecure: boolean;
};

export type SiteConfig = {
  readonly name: string;
  /** `host:port` or `unix:/path`. */
  readonly peer: string;
  readonly api: string;
  readonly nbd: readonly string[];
  readonly data: string;
  /** Address to dial for a peer instead of that peer's own (NAT, tunnels, test proxies). */
  readonly reach: ReadonlyMap<string, string>;
};

export type GroupConfig = {
  readonly name: string;
  readonly primary: string;
  /** In the order of the file; a volume's index is its place here. */
  readonly volumes: readonly VolumeConfig[];
  readonly copies: ReadonlyMap<string, CopyConfig>;
  readonly durability: "flush" | "write";
  readonly regionBytes: number;
  readonly journal: JournalConfig;
  /** Where the second log of the journal lies, as this site reaches it: in a folder of the group's name. */
  readonly bunkerPath?: string;
  readonly hooks: { readonly onPromote?: string; readonly onDemote?: string };
};

export type VolumeConfig = {
  readonly name: string;
  readonly bytes: number;
  /** Place of the image per site, where it is not `<data>/<group>/<volume>.img`: a path, or the URI of an NBD export. */
  readonly at: ReadonlyMap<string, string>;
  /** Takes an NBD server that cannot flush; left out where it does not. */
  readonly trustDevice?: true;
};

/** The ordered log with data that copies other than mirrors are fed from. */
export type JournalConfig = {
  readonly bytesMax: number;
  /** What a host write gets, or a copy, when the journal is full. */
  readonly overflow: "trip" | "stall" | "fail";
};

/** When the open set of writes is closed (async); of a cycle, how long it is. */
export type SealConfig = {
  readonly everyMs: number;
  readonly bytesMax: number;
  /** At a host's FLUSH too, or then only. */
  readonly onFlush: boolean | "only";
};

export type CopyMode = "sync" | "async" | "cycle" | "bunker";

export type CopyConfig = {
  readonly site: string;
  readonly mode: CopyMode;
  readonly onLoss: "continue" | "stall" | "fail" | "override" | "off";
  readonly ackTimeoutMs: number;
  readonly resume: "auto" | "manual";
  readonly preserveBytesMax: number | undefined;
  /** Objective for `status --check`; undefined: none. */
  readonly rpoMs: number | undefined;
  readonly probeMs: number;
  readonly timeoutMs: number;
  readonly seal: SealConfig;
  /** Where a set is kept until it is complete. */
  readonly staging: "durable" | "memory";
  /** When a write is answered: once the number of its cycle has moved on, or at once (cycle). Undefined in other modes. */
  readonly ackAt: "switch" | "journal" | undefined;
  /** The site that keeps the log and feeds this copy from it (cycle); left out: the primary feeds it. */
  readonly through?: string;
  /** There only because a copy is fed through it: it has a part while the primary is the one that the file names. */
  readonly isRelay?: true;
  /** Parallel connections of the session (async, cycle). */
  readonly connections: number;
  /** Packs what is sent in sets: always, or where it pays; undefined: never, so that older files and records mean the same. */
  readonly compress: "on" | "auto" | undefined;
  /**
   * A bunker: it brings a copy up by itself once the primary has been silent for so long; left out: an operator begins that,
   * so that older files and records mean the same.
   */
  readonly replayAfterMs?: number;
  /** Ceiling for resync in bytes per second; undefined: none. */
  readonly rateBytesPerSecond: number | undefined;
};
