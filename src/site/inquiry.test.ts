import assert from "node:assert/strict";
import { test } from "node:test";
import { loadCrypto } from "#io/crypto.ts";
import { createManualClock } from "../../test/support/manual-clock.ts";
import { createInquiries } from "./inquiry.ts";

const crypto = await loadCrypto();

/** Asks a site whose probes come to nothing. */
function rig() {
  const clock = createManualClock();
  const down: string[] = [];
  const identity = {
    cluster: "example",
    site: "east",
    knownSites: new Set(["vault"]),
    secret: undefined,
    bootId: "boot",
    clock,
    crypto,
  };
  const inquiries = createInquiries({
    identity,
    transport: { dial: () => undefined },
    sites: [{ site: "vault", address: "somewhere", probeMs: 500, timeoutMs: 3_000 }],
    viewsFor: () => [],
    onViews: () => undefined,
    onAnswer: () => undefined,
    onDown: (_, why) => void down.push(why),
    onStillDown: () => undefined,
  });
  inquiries.start();
  return { clock, inquiries, down };
}

test("I35, B15: whoever has just begun a session is not lost for a silence from before it, and is for one since", () => {
  const { clock, inquiries, down } = rig();
  clock.advance(2_900);
  inquiries.noteLife("vault");
  clock.advance(2_900);
  assert.deepEqual(down, []);
  clock.advance(600);
  assert.deepEqual(down, ["no answer for 3000 ms"]);
});

test("who is told of a site that is not asked takes no harm", () => {
  const { clock, inquiries, down } = rig();
  inquiries.noteLife("nobody");
  clock.advance(3_000);
  assert.deepEqual(down, ["no answer for 3000 ms"]);
});
