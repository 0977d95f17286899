import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, limits, MiB } from "./limits.ts";

test("every limit is a positive safe integer whose name tells its unit or what it counts", () => {
  for (const [name, value] of Object.entries(limits)) {
    assert.ok(Number.isSafeInteger(value) && value > 0, name);
    assert.doesNotMatch(name, /(?:Kb|Mb|Kib|Mib|Sec|Secs|Seconds)(?:Max|Min)?$/, name);
  }
});

test("a smallest value is below its largest, a soft limit below its hard one", () => {
  const values: Readonly<Record<string, number>> = limits;
  for (const [name, value] of Object.entries(values)) {
    for (const [low, high] of [
      ["Min", "Max"],
      ["Soft", "Hard"],
    ] as const) {
      const upper = name.endsWith(low) ? values[name.slice(0, -low.length) + high] : undefined;
      if (upper !== undefined) assert.ok(value < upper, name);
    }
  }
});

test("units of the disk divide into each other", () => {
  const { sectorBytes, regionBytesMin, regionBytesMax, openGranuleBytes, volumeBytesMax } = limits;
  assert.equal(regionBytesMin % sectorBytes, 0);
  assert.equal(regionBytesMax % regionBytesMin, 0);
  // A granule of the open map becomes whole regions of the dirty map at recovery.
  assert.equal(openGranuleBytes % regionBytesMax, 0);
  assert.equal(volumeBytesMax % openGranuleBytes, 0);
  assert.ok(Number.isSafeInteger(volumeBytesMax * limits.volumesPerGroupMax));
});

test("the largest host request passes every stage behind it", () => {
  const { hostRequestBytesMax } = limits;
  assert.ok(hostRequestBytesMax <= limits.hostInFlightBytesMax, "its own connection");
  assert.ok(limits.hostInFlightBytesMax <= limits.hostHeldBytesMax, "all connections together");
  assert.ok(hostRequestBytesMax <= limits.peerBodyBytesMax, "one frame to a peer");
  assert.ok(limits.peerBodyBytesMax <= limits.sessionOutstandingBytesMax, "one session");
  assert.ok(hostRequestBytesMax <= limits.unsyncedBytesMin, "the bound of unsynced bytes");
});

test("background work starts before anybody has to wait for it", () => {
  assert.ok(limits.unsyncedBytesMin <= limits.unsyncedBytesFirst);
  assert.ok(limits.unsyncedBytesFirst <= limits.unsyncedBytesMax);
  assert.ok(limits.lsnReserveMargin < limits.lsnReserve);
  assert.ok(limits.openIdleMs < limits.openRoundMsMax);
  assert.ok(limits.openIdleMs < limits.openHotMs);
  assert.ok(limits.tickMs <= limits.openIdleMs);
});

test("resync fits its session and moves whole regions", () => {
  assert.ok(limits.resyncChunkBytes <= limits.resyncWindowFirstBytes);
  assert.ok(limits.resyncWindowFirstBytes <= limits.resyncWindowBytes);
  assert.ok(limits.resyncWindowBytes <= limits.sessionOutstandingBytesMax);
  assert.ok(limits.resyncChunkBytes <= limits.peerBodyBytesMax);
  assert.ok(limits.regionBytesMax <= limits.resyncChunkBytes);
});

test("a cold start of a full open map resyncs what a minute of an ordinary link can carry", () => {
  assert.ok(limits.openGranulesMax * limits.openGranuleBytes <= 16 * GiB);
  assert.ok(limits.openGranuleBytes <= 1 * MiB);
});

test("what the protocols call for is allowed", () => {
  // NBD doc/proto.md, "Values": strings up to 4096 bytes; export names are ours to shorten.
  assert.ok(limits.nbdNameBytesMax >= 4096);
  assert.ok(limits.nbdOptionBytesMax > limits.nbdNameBytesMax);
  // The same, "Block size constraints": clients assume that 32 MiB are accepted.
  assert.ok(limits.hostRequestBytesMax >= 32 * MiB);
  assert.ok(limits.peerRedialMsMax <= limits.peerHandshakeMsMax);
});
