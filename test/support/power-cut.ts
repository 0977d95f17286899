// What a power cut leaves of a site, made from outside: the machine that the tests run on stays up.

import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { openFolder } from "#io/folder.ts";
import { isFailure } from "#ports/file.ts";
import { openRecordFile } from "#store/record-file.ts";
import type { TestSite } from "./cluster.ts";
import { writeRecord } from "./write-record.ts";

/** Logs and images of the group, by name. */
export type Synced = ReadonlyMap<string, Buffer>;

const isLost = /\.(log|img)$/;

/**
 * Logs and images as they are now. What is written to them after this, and never synced, is what the power can take; so no host
 * may FLUSH behind this, and none of their granules may come to rest. The log is read first: an image may be ahead of it.
 */
export function readSynced(site: TestSite): Synced {
  const folder = join(site.data, "bank");
  const names = fs.readdirSync(folder).filter((name) => isLost.test(name));
  names.sort((a, b) => Number(a.endsWith(".img")) - Number(b.endsWith(".img")));
  return new Map(names.map((name) => [name, fs.readFileSync(join(folder, name))]));
}

/** The process is dead: of its logs and images there is what was synced, and the machine has started anew since. */
export async function losePower(site: TestSite, synced: Synced): Promise<void> {
  const path = join(site.data, "bank");
  for (const name of fs.readdirSync(path)) {
    const bytes = synced.get(name);
    if (bytes !== undefined) fs.writeFileSync(join(path, name), bytes);
    else if (isLost.test(name)) fs.rmSync(join(path, name));
  }
  const folder = openFolder(path);
  if (isFailure(folder)) return assert.fail(folder.message);
  const file = folder.open("group.record");
  if (isFailure(file)) return assert.fail(file.message);
  const opened = openRecordFile(file);
  const record = opened.ok ? opened.value.record : undefined;
  if (!opened.ok || record === undefined) return assert.fail("the site has no record");
  record.bootId = "another start of the machine";
  const { promise, resolve } = Promise.withResolvers<string>();
  writeRecord(opened.value.store, record, (failure) => resolve(failure?.message ?? ""));
  assert.equal(await promise, "");
  file.close();
}
