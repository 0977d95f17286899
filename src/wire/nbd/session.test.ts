import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import type { Exports } from "#ports/exports.ts";
import type { HostVolume } from "#ports/host-request.ts";
import { createHandshakeDecoder, nextHandshake, pushHandshake } from "./decode-handshake.ts";
import { type HandshakeMessage, option } from "./messages.ts";
import { createHandshake, type Handshake, type HandshakeStep, stepHandshake } from "./session.ts";

const volume: HostVolume = {
  group: "bank",
  name: "data",
  index: 0,
  bytes: 2 ** 33 + 512,
  writeBytesMax: 4096,
  submit: () => assert.fail("a handshake submits nothing"),
  extents: () => assert.fail("a handshake asks for no extents"),
};

const exports: Exports = {
  list: () => [
    { name: "bank/data", bytes: volume.bytes, served: true },
    { name: "bank/log", bytes: 0, served: false },
  ],
  find(name) {
    if (name === "bank/data") return { kind: "served", volume };
    if (name === "bank/log") return { kind: "refused", why: "the group is secondary here" };
    return { kind: "unknown" };
  },
  onDrop: () => undefined,
};

/** What a client may have negotiated before; "options" is right behind the client flags. */
type Prior = "options" | "structured" | "selected";

/** A row's message in each state: the replies as `option:type` or `option:type text`, then what follows from it. */
const table: Record<string, { message: HandshakeMessage; answers: Record<Prior, string> }> = {
  "EXPORT_NAME, served": {
    message: { kind: "exportName", name: "bank/data" },
    answers: {
      options: "raw 00000002000002000 16d; serve simple",
      structured: "raw 00000002000002000 1ed; serve structured",
      selected: "raw 00000002000002000 1ed; serve structured allocation",
    },
  },
  "EXPORT_NAME, refused": {
    message: { kind: "exportName", name: "bank/log" },
    answers: everywhere("fail the group is secondary here"),
  },
  "EXPORT_NAME, unknown": {
    message: { kind: "exportName", name: "x" },
    answers: everywhere('fail there is no export "x"; this site has bank/data, bank/log'),
  },
  ABORT: { message: { kind: "abort" }, answers: everywhere("2:ack; end") },
  LIST: { message: { kind: "list" }, answers: everywhere("3:server 3:ack; continue") },
  STRUCTURED_REPLY: {
    message: { kind: "structuredReply" },
    answers: everywhere("8:ack; continue"),
  },
  "GO, served": {
    message: { kind: "export", enter: true, name: "bank/data", infos: [1, 3] },
    answers: {
      options: "7:info 7:info 7:info 7:ack; serve simple",
      structured: "7:info 7:info 7:info 7:ack; serve structured",
      selected: "7:info 7:info 7:info 7:ack; serve structured allocation",
    },
  },
  "GO, refused": {
    message: { kind: "export", enter: true, name: "bank/log", infos: [] },
    answers: everywhere("7:policy; continue"),
  },
  "GO, no default export": {
    message: { kind: "export", enter: true, name: "", infos: [] },
    answers: everywhere("7:unknown; continue"),
  },
  "INFO, served": {
    message: { kind: "export", enter: false, name: "bank/data", infos: [77] },
    answers: everywhere("6:info 6:ack; continue"),
  },
  "INFO, unknown": {
    message: { kind: "export", enter: false, name: "x", infos: [] },
    answers: everywhere("6:unknown; continue"),
  },
  "LIST_META_CONTEXT, all": {
    message: { kind: "metaContext", select: false, name: "bank/data", queries: [] },
    answers: { ...everywhere("9:context 9:ack; continue"), options: "9:invalid; continue" },
  },
  "LIST_META_CONTEXT, base:": {
    message: { kind: "metaContext", select: false, name: "bank/data", queries: ["base:"] },
    answers: { ...everywhere("9:context 9:ack; continue"), options: "9:invalid; continue" },
  },
  "SET_META_CONTEXT, base:allocation": {
    message: {
      kind: "metaContext",
      select: true,
      name: "bank/data",
      queries: ["x:y", "base:allocation"],
    },
    answers: { ...everywhere("10:context 10:ack; continue"), options: "10:invalid; continue" },
  },
  "SET_META_CONTEXT, a wildcard selects nothing": {
    message: {
      kind: "metaContext",
      select: true,
      name: "bank/data",
      queries: ["base:", "nocolon"],
    },
    answers: { ...everywhere("10:ack; continue"), options: "10:invalid; continue" },
  },
  "SET_META_CONTEXT, refused": {
    message: { kind: "metaContext", select: true, name: "bank/log", queries: ["base:allocation"] },
    answers: { ...everywhere("10:policy; continue"), options: "10:invalid; continue" },
  },
  STARTTLS: {
    message: { kind: "unknownOption", option: option.startTls },
    answers: everywhere("5:unsup; continue"),
  },
  "an option of the future": {
    message: { kind: "unknownOption", option: 4711 },
    answers: everywhere("4711:unsup; continue"),
  },
  "a malformed option": {
    message: { kind: "badOption", option: option.list, tooBig: false, why: "LIST takes no data" },
    answers: everywhere("3:invalid; continue"),
  },
  "an oversized option": {
    message: { kind: "badOption", option: option.go, tooBig: true, why: "long" },
    answers: everywhere("7:tooBig; continue"),
  },
};

for (const [title, { message, answers }] of Object.entries(table)) {
  test(`NBD handshake: ${title}`, () => {
    for (const [prior, expected] of Object.entries(answers)) {
      assert.equal(say(prepared(prior), message), expected, `in state ${prior}`);
    }
  });
}

test("NBD handshake: a client flag that nobody knows ends the session, a missing FIXED_NEWSTYLE does not", () => {
  assert.equal(say(createHandshake(), { kind: "clientFlags", flags: 0 }), "; continue");
  assert.equal(
    say(createHandshake(), { kind: "clientFlags", flags: 7 }),
    "fail unknown client flags 0x7",
  );
});

test("NBD handshake: 124 zeroes follow EXPORT_NAME unless the client declined them", () => {
  for (const [flags, length] of [
    [1, 134],
    [3, 10],
  ] as const) {
    const handshake = createHandshake();
    const out: Uint8Array[] = [];
    stepHandshake(handshake, { kind: "clientFlags", flags }, exports, out);
    stepHandshake(handshake, { kind: "exportName", name: "bank/data" }, exports, out);
    assert.equal(out[0]?.length, length);
  }
});

test("NBD handshake: a selection counts only for its own export, and a failed one undoes the one before", () => {
  const elsewhere = prepared("selected");
  elsewhere.allocationOf = "another";
  const go: HandshakeMessage = { kind: "export", enter: true, name: "bank/data", infos: [] };
  assert.equal(say(elsewhere, go), "7:info 7:ack; serve structured");
  const failed = prepared("selected");
  say(failed, { kind: "badOption", option: option.setMetaContext, tooBig: false, why: "" });
  assert.equal(say(failed, go), "7:info 7:ack; serve structured");
});

test("row 56: whoever haggles without end is hung up on", () => {
  const handshake = prepared("options");
  const ask: HandshakeMessage = { kind: "unknownOption", option: 99 };
  for (let index = 0; index < limits.nbdOptionsPerHandshakeMax; index++) {
    assert.equal(say(handshake, ask), "99:unsup; continue");
  }
  assert.match(say(handshake, ask), /^fail more than/);
});

test("row 56: no bytes of a client break the session", () => {
  const data = fc.uint8Array({ maxLength: 40 });
  const options = fc.array(fc.tuple(fc.nat(12), data), { maxLength: 20 });
  fc.assert(
    fc.property(fc.nat(5), options, data, (flags, sent, noise) => {
      const decoder = createHandshakeDecoder();
      const handshake = createHandshake();
      const framed = sent.map(([code, bytes]) =>
        Buffer.concat([
          Buffer.from("IHAVEOPT"),
          Buffer.of(0, 0, 0, code, 0, 0, 0, bytes.length),
          bytes,
        ]),
      );
      pushHandshake(decoder, Buffer.concat([Buffer.of(0, 0, 0, flags), ...framed, noise]));
      while (handshake.state !== "over") {
        const message = nextHandshake(decoder);
        if (message === undefined || message.kind === "malformed") return;
        stepHandshake(handshake, message, exports, []);
      }
    }),
  );
});

function everywhere(answer: string): Record<Prior, string> {
  return { options: answer, structured: answer, selected: answer };
}

function prepared(prior: string): Handshake {
  const handshake = createHandshake();
  say(handshake, { kind: "clientFlags", flags: 3 });
  if (prior === "options") return handshake;
  say(handshake, { kind: "structuredReply" });
  if (prior === "structured") return handshake;
  const queries = ["base:allocation"];
  say(handshake, { kind: "metaContext", select: true, name: "bank/data", queries });
  return handshake;
}

function say(handshake: Handshake, message: HandshakeMessage): string {
  const out: Uint8Array[] = [];
  const step = stepHandshake(handshake, message, exports, out);
  if (step.kind === "fail") {
    assert.equal(out.length, 0);
    return `fail ${step.why}`;
  }
  return `${out.map(nameOf).join(" ")}; ${outcomeOf(step)}`;
}

function outcomeOf(step: HandshakeStep): string {
  if (step.kind !== "serve") return step.kind;
  assert.equal(step.volume, volume);
  const { structured, allocation } = step.transmission;
  return `serve ${structured ? "structured" : "simple"}${allocation ? " allocation" : ""}`;
}

const replyNames = new Map([
  [1, "ack"],
  [2, "server"],
  [3, "info"],
  [4, "context"],
  [0x80000001, "unsup"],
  [0x80000002, "policy"],
  [0x80000003, "invalid"],
  [0x80000006, "unknown"],
  [0x80000009, "tooBig"],
]);

function nameOf(reply: Uint8Array): string {
  const bytes = Buffer.from(reply);
  const hex = bytes.toString("hex");
  if (!hex.startsWith("0003e889045565a9")) return `raw ${hex.slice(0, 17)} ${hex.slice(17)}`;
  assert.equal(bytes.readUInt32BE(16), bytes.length - 20, "the length of the reply's data");
  return `${bytes.readUInt32BE(8)}:${replyNames.get(bytes.readUInt32BE(12))}`;
}
