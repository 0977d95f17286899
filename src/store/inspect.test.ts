import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "#base/limits.ts";
import { createRegionMap, mark } from "#core/region-map.ts";
import { isFailure } from "#ports/file.ts";
import { createMemoryFolder } from "../../test/support/memory-folder.ts";
import { inspectGroupFolder } from "./inspect.ts";
import { mapKind, writeMapHeader, writeMapPages } from "./map-file.ts";

test("inspect lists runs of a map up to a limit, and says how many more there are", () => {
  const beyond = 17;
  const unitBytes = 4096;
  const units = 2 * (limits.inspectRunsMax + beyond);
  const identity = { kind: mapKind.dirty, mapId: 7, unitBytes, volumeBytes: units * unitBytes };
  const folder = createMemoryFolder();
  const file = folder.open("dirty.map");
  if (isFailure(file)) assert.fail(file.message);
  const map = createRegionMap(identity.volumeBytes, unitBytes);
  for (let unit = 0; unit < units; unit += 2) mark(map, unit, unit);
  assert.equal(writeMapHeader(file, identity), undefined);
  assert.equal(writeMapPages(file, map, identity.mapId), undefined);
  const { bitmap, bitmapNotShown } = inspectGroupFolder(folder);
  assert.deepEqual([bitmap.length, bitmapNotShown], [limits.inspectRunsMax, beyond]);
  assert.equal(bitmap.at(-1)?.offset, 2 * (limits.inspectRunsMax - 1) * unitBytes);
});
