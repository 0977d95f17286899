// A bank whose primary, east, keeps a second log on a path that west reaches too; each dials the other by way of a proxy.

import fs from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { StampedEvent } from "#control/event-log.ts";
import type { GroupRecord } from "#core/group-record.ts";
import { type ChainWriter, startChainWriter } from "./chain-writer.ts";
import type { TestSite } from "./cluster.ts";
import { type LinkedCluster, startLinkedCluster } from "./linked-cluster.ts";
import { onEnd } from "./on-end.ts";
import { untilNobodyFeeds } from "./take-over.ts";
import { makeTempFolder, removeTempFolder } from "./temp-folder.ts";

const exports = ["bank/data", "bank/log"];

/** The second log as `status` names it. */
export const secondLog = "mirror:bank";

export type PathBank = LinkedCluster & {
  readonly east: TestSite;
  readonly west: TestSite;
  /** The path of the second log; its folder is `bank` in there. */
  readonly path: string;
};

/** Both run, and copy and second log are `streaming`. `path`: a folder of the test's own, where it needs a certain one. */
export async function startPathBank(t: TestContext, path = ownFolder(t)): Promise<PathBank> {
  const linked = await startLinkedCluster(t, {
    groups: { bank: { data: "16MiB", log: "8MiB" } },
    modes: { west: "async" },
    copies: { west: "probe: 100ms, timeout: 1s" },
    groupLines: [`journal: { mirror: ${path} }`],
  });
  const { cluster } = linked;
  await cluster.copyIs("east", secondLog, "streaming");
  return { ...linked, east: cluster.site("east"), west: cluster.site("west"), path };
}

function ownFolder(t: TestContext): string {
  const path = makeTempFolder();
  // Once nobody writes there any more.
  onEnd(t, () => removeTempFolder(path));
  return path;
}

/** The two lose sight of each other; both still reach the path. */
export function partSites({ toWest, toEast }: Pick<PathBank, "toWest" | "toEast">): void {
  for (const way of [toWest, toEast]) {
    way.isClosed = true;
    way.cut();
  }
}

/** What a primary had on record, and had told, when it was killed. */
export type LastWord = { readonly record: GroupRecord; readonly events: readonly StampedEvent[] };

/** The primary is lost for good while its copy is behind, and so is its data. */
export async function loseEast(
  bank: PathBank,
  writer: ChainWriter,
  writes: number,
): Promise<LastWord> {
  slowDown(bank);
  await writer.more(writes);
  const lastWord = await killEast(bank, writer);
  await untilNobodyFeeds(bank.west);
  return lastWord;
}

/** What is written from now on comes to the copy late. */
export function slowDown({ toWest }: PathBank): void {
  toWest.bytesPerSecond = 20_000;
}

/** The primary is gone for good, and so is its data; what it had on record is kept for the judge alone. */
export async function killEast({ east, toWest }: PathBank, writer: ChainWriter): Promise<LastWord> {
  await east.kill();
  // What was on its way is lost with it.
  toWest.cut();
  await writer.ended();
  const lastWord = lastWordOf(east);
  fs.rmSync(east.data, { recursive: true });
  return lastWord;
}

function lastWordOf(site: TestSite): LastWord {
  const { record } = site.inspect();
  if (typeof record === "string") throw new Error(`${site.name} has no record: ${record}`);
  const lines = fs.readFileSync(join(site.data, "events.jsonl"), "utf8").split("\n");
  // Each line is one write: a process that is killed tears none.
  const events = lines
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as StampedEvent);
  return { record, events };
}

/** A host at both volumes, whose first writes have been answered. */
export async function startWriter(
  { east }: PathBank,
  more: { readonly flushEvery?: number } = { flushEvery: 30 },
): Promise<ChainWriter> {
  const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 400, ...more });
  await writer.more(50);
  return writer;
}
