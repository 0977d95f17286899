import assert from "node:assert/strict";
import { test } from "node:test";
import type { CopyState } from "#core/states.ts";
import type { CopyStatus } from "#site/api.ts";
import { Line } from "./line.ts";
import { quietSwarm } from "./scripts.ts";

// What the judges know that a primary has not heard yet: `Line.isHeardLate`, `Line.isLossUnheard`.

/** East serves, and west is in a session with it. */
function begun(): Line {
  const [group] = quietSwarm("flush").config.groups.values();
  assert.ok(group);
  const line = new Line(group);
  line.beginReign("east", {
    generation: 1,
    tenure: "first",
    ancestry: ["first"],
    revivedFrom: Infinity,
  });
  sees(line, "fractured");
  line.oracle.next();
  sees(line, "resync");
  return line;
}

/** What east says of west; whether west has become whole by that. */
function sees(line: Line, state: CopyState): boolean {
  const copy = { site: "west", mode: "sync", state, complete: 0 } as CopyStatus;
  return line.observe("east", { copies: [copy] }).length > 0;
}

test("I29: the word of a copy that is whole, and has gone back since, is heard late, and is no overwriting", () => {
  const line = begun();
  line.noteWhole("west");
  line.wentBack("west", true);
  assert.ok(sees(line, "synchronized"));
  assert.ok(line.isHeardLate("west"));
});

test("I29: nothing excuses a session that began after the copy went back", () => {
  const line = begun();
  line.noteWhole("west");
  line.wentBack("west", true);
  sees(line, "fractured");
  line.oracle.next();
  sees(line, "resync");
  assert.ok(sees(line, "synchronized"));
  assert.ok(!line.isHeardLate("west"));
});

test("I29: nor a reign that has begun since", () => {
  const line = begun();
  line.noteWhole("west");
  line.wentBack("west", true);
  line.beginReign("east", {
    generation: 2,
    tenure: "second",
    ancestry: ["first", "second"],
    revivedFrom: Infinity,
  });
  assert.ok(sees(line, "synchronized"));
  assert.ok(!line.isHeardLate("west"));
});

test("I29: nor a copy that went back in the midst of the resync, or is whole anew", () => {
  const midst = begun();
  midst.wentBack("west", false);
  assert.ok(sees(midst, "synchronized"));
  assert.ok(!midst.isHeardLate("west"));

  const anew = begun();
  anew.wentBack("west", true);
  anew.noteWhole("west");
  assert.ok(sees(anew, "synchronized"));
  assert.ok(!anew.isHeardLate("west"));
});

test("N8: a loss of power is unheard while the primary shows the session of before, and no longer", () => {
  const line = begun();
  assert.ok(!line.isLossUnheard("west"));
  line.powerLost("west");
  sees(line, "resync");
  assert.ok(line.isLossUnheard("west"));
  sees(line, "fractured");
  sees(line, "resync");
  assert.ok(!line.isLossUnheard("west"));
});
