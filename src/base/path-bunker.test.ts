import assert from "node:assert/strict";
import { test } from "node:test";
import { groupOfPathBunker, logAddress, parseLogAddress, pathBunkerOf } from "./path-bunker.ts";

test("a second log's name leads to its group, and a site's does not", () => {
  assert.equal(groupOfPathBunker(pathBunkerOf("bank")), "bank");
  assert.equal(groupOfPathBunker("mirror"), undefined);
});

test("an address of a log has group and path, whatever the path is called; other addresses are none", () => {
  const place = { group: "bank", path: "/mnt/a:b/log" };
  assert.deepEqual(parseLogAddress(logAddress(place)), place);
  for (const other of ["127.0.0.1:7101", "unix:/run/log:bank"])
    assert.equal(parseLogAddress(other), undefined);
});
