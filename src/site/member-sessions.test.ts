import assert from "node:assert/strict";
import { test } from "node:test";
import { policyTable } from "#core/policy.ts";
import type { ModeRow } from "#core/policy.ts";
import type { PrimaryEvent } from "#core/primary-events.ts";
import type { Connection } from "#ports/transport.ts";
import { parseOpen } from "#wire/peer/documents.ts";
import { frameType } from "#wire/peer/messages.ts";
import { createManualClock } from "../../test/support/manual-clock.ts";
import { createMemoryNetwork } from "../../test/support/memory-network.ts";
import { samplePolicy, samplePrimary } from "../../test/support/sample-primary.ts";
import type { GroupContext } from "./group-context.ts";
import { createMemberSessions } from "./member-sessions.ts";
import { acceptPeer, sendDocument } from "./peer-connection.ts";
import type { Peer, PeerIdentity } from "./peer-connection.ts";

// A primary dials its copy, which may take its time to answer.

/** East, and the sessions that its copy at west has been asked for and has not answered. */
function createBench() {
  const { primary, west } = samplePrimary();
  primary.lsnReserved = 100;
  const clock = createManualClock();
  const crypto: PeerIdentity["crypto"] = {
    randomBytes: (count) => new Uint8Array(count).fill(7),
    hmacSha256: () => assert.fail("there is no secret"),
    hash64: () => assert.fail("nothing is compared"),
  };
  const identityOf = (site: string): PeerIdentity => ({
    cluster: "acme",
    site,
    knownSites: new Set(["east", "west"]),
    secret: undefined,
    bootId: "",
    crypto,
    clock,
  });
  const asked: { readonly peer: Peer; readonly unit: string | undefined }[] = [];
  const network = createMemoryNetwork((connection: Connection) =>
    acceptPeer(identityOf("west"), connection, (peer, document) => {
      const open = parseOpen(document);
      assert.ok(open.ok && open.value.purpose === "session");
      asked.push({ peer, unit: open.value.unit });
    }),
  );
  const context = {
    config: { name: "bank" },
    site: "east",
    ports: { clock, crypto, transport: network.transport },
    identity: identityOf("east"),
    inquiries: { noteLife: () => undefined },
    addressOf: (site: string) => `${site}:1`,
  } as unknown as GroupContext;
  const submitted: PrimaryEvent["kind"][] = [];
  const sessions = createMemberSessions({ context, primary, journal: undefined }, ({ kind }) => {
    submitted.push(kind);
  });
  const { history } = primary.record;
  return {
    submitted,
    /** East dials, if it has no session and no dial under way. Gives what west has been asked to take so far. */
    dial(): readonly (string | undefined)[] {
      clock.advance(60_000);
      sessions.dialDue();
      network.settle();
      return asked.map(({ unit }) => unit);
    },
    changeMode(mode: ModeRow): void {
      west.policy = samplePolicy({ site: "west", mode });
    },
    /** West answers what it was asked last. */
    answer(): void {
      const { peer } = asked.at(-1) ?? assert.fail("nobody has dialled");
      sendDocument(peer, frameType.opened, {
        replicaId: "a",
        history,
        role: "secondary",
        image: "consistent",
        isBlank: false,
        mustRewrite: false,
        aloneTowards: [],
        receivedLsn: 0,
        appliedLsn: 0,
        completeSet: 0,
        completeLsn: 0,
        preservedPoint: null,
      });
      network.settle();
    },
    /** Why the connection that was dialled last has ended, at west. */
    ended: () => network.ends()[1].closes,
  };
}

for (const [was, is, units] of [
  [policyTable.async, policyTable.sync, ["set", "write"]],
  [policyTable.sync, policyTable.cycle, ["write", "set"]],
] as const) {
  test(`I33, I16: a copy that answers when its mode is no longer ${was.name} but ${is.name} is asked anew`, () => {
    const bench = createBench();
    bench.changeMode(was);
    assert.deepEqual(bench.dial(), units.slice(0, 1));
    bench.changeMode(is);
    bench.answer();
    assert.deepEqual(bench.submitted, [], "what it is ready for is not what it would be sent");
    assert.equal(bench.ended().length, 1);
    assert.deepEqual(bench.dial(), units);
    bench.answer();
    assert.deepEqual(bench.submitted, ["sessionOpened"]);
    assert.deepEqual(bench.ended(), []);
  });
}

test("I33: a copy whose mode changes and takes the same unit is asked once", () => {
  const bench = createBench();
  bench.dial();
  bench.changeMode(policyTable.cycle);
  bench.answer();
  assert.deepEqual(bench.submitted, ["sessionOpened"]);
  assert.deepEqual(bench.dial(), ["set"], "it has its session");
});
