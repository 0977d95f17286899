import assert from "node:assert/strict";
import { test } from "node:test";
import {
  answer,
  createFedRig,
  effects,
  give,
  makeEntry,
  makeSet,
  open,
  restart,
  settle,
} from "../../test/support/staging-rig.ts";
import { viewSets } from "./staging-state.ts";

// The machine of staging alone: what a session of cycles gives up before it begins (SPEC-cycle.md, Recovery).

test("A3, I23: what is not complete goes, durably, before the session is ready; a restart does not find it again", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 2));
  give(rig, [makeEntry(2, 1)]);
  give(rig, makeSet(3, 1));
  settle(rig);
  effects(rig);
  open(rig, { purge: true });
  assert.deepEqual(effects(rig), ["purge above 1", "release 2.1 3.1", "sync"]);
  answer(rig, "purge");
  assert.deepEqual(effects(rig), [], "a word that may be lost is no promise");
  answer(rig, "sync");
  assert.deepEqual(effects(rig, /^(purged|ready)/), [
    "purged: complete 1, 3 entries gone",
    "ready",
  ]);
  assert.deepEqual(viewSets(rig.staging, 10), []);
  restart(rig);
  settle(rig);
  assert.deepEqual(viewSets(rig.staging, 10), [], "set 3 had a flag in the log");
});

test("A4: what is whole when the session begins goes forward first, and is not given up", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  give(rig, makeSet(2, 1));
  give(rig, [makeEntry(3, 1)]);
  effects(rig);
  open(rig, { purge: true });
  assert.deepEqual(effects(rig), [], "a sync is under way that may call them complete");
  settle(rig);
  assert.deepEqual(effects(rig, /^(purge|ready)/), [
    "purge above 2",
    "purged: complete 2, 1 entries gone",
    "ready",
  ]);
});

test("A3: where nothing is left there is nothing to write, and the session is ready at once", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  settle(rig);
  effects(rig);
  open(rig, { purge: true });
  assert.deepEqual(effects(rig, /^(purge|ready|sync)/), [
    "purged: complete 1, 0 entries gone",
    "ready",
  ]);
});

test("A3: what a restart has forgotten lies in the log still: the purge says of that too that it does not count", () => {
  const rig = createFedRig();
  give(rig, [makeEntry(1, 1)]);
  settle(rig);
  restart(rig);
  settle(rig);
  effects(rig);
  open(rig, { purge: true });
  assert.deepEqual(effects(rig), ["purge above 0", "sync"]);
  settle(rig);
  assert.deepEqual(effects(rig, /^(purged|ready)/), [
    "purged: complete 0, 0 entries gone",
    "ready",
  ]);
  open(rig, { purge: true });
  assert.deepEqual(effects(rig, /^(purge |sync)/), [], "it has said so already");
});

test("I23: a set that was given up does not come back by a restart in the midst of its successor of the same number", () => {
  const rig = createFedRig();
  give(rig, makeSet(2, 2));
  settle(rig);
  open(rig, { purge: true });
  settle(rig);
  give(rig, [makeEntry(2, 1, { offset: 0 })]);
  settle(rig);
  restart(rig);
  settle(rig);
  assert.deepEqual(viewSets(rig.staging, 10), []);
});

test("A4, I24: several sets come as one under the last one's number, also where that one was staged and given up before", () => {
  const rig = createFedRig();
  give(rig, makeSet(1, 1));
  give(rig, makeSet(3, 2));
  settle(rig);
  open(rig, { purge: true });
  settle(rig);
  effects(rig);
  // Sets 2 and 3 as one: its SEAL covers from 2 on, and says the LSN up to which they go.
  give(rig, makeSet(3, 1, { offset: 2, lsn: 39 }));
  settle(rig);
  assert.deepEqual(effects(rig, /^apply/), ["apply 3: 31"]);
  assert.deepEqual(rig.staging.complete, { set: 3, lsn: 39, stampMs: 3 });
});
