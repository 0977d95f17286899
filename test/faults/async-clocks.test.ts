import assert from "node:assert/strict";
import { test } from "node:test";
import { startChainWriter } from "../support/chain-writer.ts";
import { count } from "../support/claims.ts";
import type { TestSite } from "../support/cluster.ts";
import { startLinkedCluster } from "../support/linked-cluster.ts";
import { assertCaughtUp, exports } from "../support/sets-bank.ts";

// Sites whose wall clocks differ by minutes. A process gets another clock by an option of Node's, which it takes from its
// environment; timeouts do not go by it.

const minutes = (count: number): number => count * 60_000;

function wallClock(offsetMs: number): Record<string, string> {
  const shift = `const real=Date.now;Date.now=()=>real()+(${offsetMs})`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shift)}` };
}

/** The wall clock stamp of what the copy has applied, as it is on its record. */
function recoveryPointMs(site: TestSite): number {
  const { record } = site.inspect();
  return typeof record === "string" ? 0 : (record.applied?.stampMs ?? 0);
}

for (const [how, offsetMs] of [
  ["behind", -minutes(10)],
  ["ahead of", minutes(10)],
] as const) {
  test(`row 35: a copy whose clock is ten minutes ${how} the primary's has its recovery point by the primary's, and no lag is negative`, async (t) => {
    const eastMs = minutes(30);
    const { cluster, toWest } = await startLinkedCluster(t, {
      groups: { bank: { data: "16MiB", log: "8MiB" } },
      modes: { west: "async" },
      copies: { west: "probe: 100ms, timeout: 20s" },
      env: { east: wallClock(eastMs), west: wallClock(eastMs + offsetMs) },
    });
    const [east, west] = [cluster.site("east"), cluster.site("west")];
    const startMs = Date.now() + eastMs;
    const writer = await startChainWriter({ socket: east.nbd, exports, blocks: 200 });
    const lags: number[] = [];
    const sample = async (): Promise<void> => {
      for (const site of [east, west]) {
        const copy = (await site.group()).copies[0];
        assert.ok(copy !== undefined);
        lags.push(copy.lagSeconds, copy.lagBytes, copy.lagWrites);
      }
    };
    for (let round = 0; round < 10; round += 1) {
      await writer.more(30);
      await sample();
    }
    toWest.isHole = true;
    await writer.more(100);
    const behind = await east.until("the lag is seen", ({ copies: [copy] }) => {
      return (copy?.lagSeconds ?? 0) > 0 && (copy?.lagWrites ?? 0) >= 100;
    });
    await sample();
    // A clock that is off by minutes would show in minutes.
    assert.ok((behind.copies[0]?.lagSeconds ?? 0) < 240, "by the primary's clock on both ends");
    assert.ok(
      lags.every((lag) => lag >= 0),
      `no lag is negative: ${lags.join(" ")}`,
    );
    toWest.cut();
    toWest.isHole = false;
    await writer.stop();
    await assertCaughtUp({ east, west });
    await west.until("the point is on record", () => recoveryPointMs(west) >= startMs);
    assert.ok(recoveryPointMs(west) <= Date.now() + eastMs, "not by the copy's own clock");
    count("row 35", { faultsInjected: 1, effectsSeen: 1 });
  });
}
