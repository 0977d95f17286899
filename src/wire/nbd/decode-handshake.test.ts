import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "#base/limits.ts";
import { createHandshakeDecoder, nextHandshake, pushHandshake } from "./decode-handshake.ts";
import { type HandshakeMessage, type Malformed, option } from "./messages.ts";

const utf8 = new TextEncoder();

test("NBD: every option arrives as its message, however the bytes are split", () => {
  fc.assert(
    fc.property(fc.array(messages(), { maxLength: 8 }), cuts(), (sent, at) => {
      const bytes = concat([clientFlags(3), ...sent.map((each) => encodeOption(each))]);
      const { messages: got } = decodeSplit(bytes, at);
      assert.deepEqual(got, [{ kind: "clientFlags", flags: 3 }, ...sent]);
    }),
  );
});

test("row 56: no bytes make the decoder throw, and none keep more than an option of them", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), cuts(), (noise, framed, at) => {
      const body = framed ? rawOption(noise[0] ?? 0, noise) : noise;
      const { decoder, messages: got } = decodeSplit(concat([clientFlags(3), body]), at);
      assert.ok(got.length <= 1 + 600 / 16 + 1);
      assert.ok(decoder.buffer.length <= limits.nbdOptionBytesMax + 16);
    }),
  );
});

test("row 56: 64 KiB of option data are dropped as they come and refused as too big, and haggling goes on", () => {
  const decoder = createHandshakeDecoder();
  pushHandshake(decoder, concat([clientFlags(3), rawOption(option.go, new Uint8Array(64 * 1024))]));
  pushHandshake(decoder, rawOption(option.abort, new Uint8Array(0)));
  assert.equal(nextHandshake(decoder)?.kind, "clientFlags");
  const refused = nextHandshake(decoder);
  assert.ok(refused?.kind === "badOption" && refused.tooBig);
  assert.equal(nextHandshake(decoder)?.kind, "abort");
});

test("row 56: an option of 4 GiB ends the session before anything is kept for it", () => {
  const decoder = createHandshakeDecoder();
  const header = rawOption(option.go, new Uint8Array(0));
  header.set([0xff, 0xff, 0xff, 0xff], 12);
  pushHandshake(decoder, concat([clientFlags(3), header]));
  nextHandshake(decoder);
  assert.equal(nextHandshake(decoder)?.kind, "malformed");
});

test("NBD: lengths inside an option that do not add up make it invalid, not the session", () => {
  const cases = [
    rawOption(option.list, utf8.encode("x")),
    rawOption(option.structuredReply, utf8.encode("x")),
    rawOption(option.go, new Uint8Array(5)),
    rawOption(option.go, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0)),
    rawOption(option.info, Uint8Array.of(0, 0, 0, 0, 0, 1)),
    rawOption(option.info, Uint8Array.of(0, 0, 0, 1, 0, 0, 0)),
    rawOption(option.info, Uint8Array.of(0, 0, 0, 1, 0xff, 0, 0)),
    rawOption(option.setMetaContext, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 65)),
    rawOption(option.listMetaContext, Uint8Array.of(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)),
  ];
  for (const bytes of cases) {
    const { messages: got } = decodeSplit(concat([clientFlags(0), bytes]), []);
    assert.equal(got[1]?.kind, "badOption", `option ${bytes[11]}`);
  }
});

function messages(): fc.Arbitrary<HandshakeMessage> {
  const name = fc
    .string({ unit: "grapheme", maxLength: 20 })
    .filter((text) => !text.includes("\0"));
  return fc.oneof(
    record({ kind: fc.constant("exportName" as const), name }),
    fc.constant({ kind: "abort" as const }),
    fc.constant({ kind: "list" as const }),
    fc.constant({ kind: "structuredReply" as const }),
    record({
      kind: fc.constant("export" as const),
      enter: fc.boolean(),
      name,
      infos: fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 4 }),
    }),
    record({
      kind: fc.constant("metaContext" as const),
      select: fc.boolean(),
      name,
      queries: fc.array(name, { maxLength: 4 }),
    }),
    record({
      kind: fc.constant("unknownOption" as const),
      option: fc.integer({ min: 11, max: 0xffff_ffff }),
    }),
  );
}

function encodeOption(message: HandshakeMessage): Uint8Array {
  switch (message.kind) {
    case "exportName":
      return rawOption(option.exportName, utf8.encode(message.name));
    case "abort":
      return rawOption(option.abort, new Uint8Array(0));
    case "list":
      return rawOption(option.list, new Uint8Array(0));
    case "structuredReply":
      return rawOption(option.structuredReply, new Uint8Array(0));
    case "export": {
      const infos = concat([number16(message.infos.length), ...message.infos.map(number16)]);
      return rawOption(
        message.enter ? option.go : option.info,
        concat([string32(message.name), infos]),
      );
    }
    case "metaContext": {
      const queries = [number32(message.queries.length), ...message.queries.map(string32)];
      const code = message.select ? option.setMetaContext : option.listMetaContext;
      return rawOption(code, concat([string32(message.name), ...queries]));
    }
    case "unknownOption":
      return rawOption(message.option, utf8.encode("whatever"));
    default:
      throw new Error(`the test does not send ${message.kind}`);
  }
}

function decodeSplit(bytes: Uint8Array, at: readonly number[]) {
  const decoder = createHandshakeDecoder();
  const messages: (HandshakeMessage | Malformed)[] = [];
  const points = [...at.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let begin = 0;
  for (const end of points) {
    pushHandshake(decoder, bytes.slice(begin, end));
    begin = end;
    for (let next = nextHandshake(decoder); next !== undefined; next = nextHandshake(decoder)) {
      messages.push(next);
      if (next.kind === "malformed") return { decoder: createHandshakeDecoder(), messages };
    }
  }
  return { decoder, messages };
}

function cuts(): fc.Arbitrary<number[]> {
  return fc.array(fc.nat(2000), { maxLength: 12 });
}

function clientFlags(flags: number): Uint8Array {
  return number32(flags);
}

function rawOption(code: number, data: Uint8Array): Uint8Array {
  return concat([utf8.encode("IHAVEOPT"), number32(code), number32(data.length), data]);
}

function string32(text: string): Uint8Array {
  const bytes = utf8.encode(text);
  return concat([number32(bytes.length), bytes]);
}

function number32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function number16(value: number): Uint8Array {
  return number32(value).subarray(2);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Objects with the ordinary prototype, as the decoder makes them. */
function record<T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(fields, { noNullPrototype: true });
}
