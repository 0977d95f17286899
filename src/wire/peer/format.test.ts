import assert from "node:assert/strict";
import { test } from "node:test";
import { joined, textOf } from "#base/bytes.ts";
import { limits } from "#base/limits.ts";
import { fixture } from "../../../test/support/fixture.ts";
import { formatHash } from "../../../test/support/format-hash.ts";
import { encodeFrames, headerOf, sampleFrames } from "../../../test/support/peer-samples.ts";
import { createFrameDecoder, pushChunk } from "./decode.ts";
import { parseBegin, parseOpen, parseOpened, parseRefusal } from "./documents.ts";
import { parseProbe } from "./probe.ts";
import { parseGreeting, parseProof } from "./handshake.ts";
import { allVolumes, frameFlags, frameHeaderBytes, frameMagic, frameType } from "./messages.ts";
import { peerVersions } from "./messages.ts";
import type { Frame } from "./messages.ts";

/** The fingerprint of each version of the peer protocol, for ever. */
const hashOfVersion: Readonly<Record<number, string>> = {
  1: "400c22dff90e30e4971ffba86e5730f42ef67ad33431665b01220362b36df9b6",
};

test("row 33: the peer protocol does not change without a new version", () => {
  const hash = formatHash(new URL("messages.ts", import.meta.url), {
    frameMagic,
    frameHeaderBytes,
    frameType,
    frameFlags,
    allVolumes,
    bodyBytesMax: limits.peerBodyBytesMax,
    controlBytesMax: limits.peerControlBytesMax,
  });
  assert.equal(
    hash,
    hashOfVersion[peerVersions.highest],
    "the protocol has changed: raise peerVersions.highest, tell its history in messages.ts, " +
      "and add the new hash here; sites of the old version must still be understood",
  );
});

function framesOf(bytes: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  const decoder = createFrameDecoder(
    (frame) => frames.push(frame),
    (rule) => assert.fail(rule),
  );
  pushChunk(decoder, bytes);
  return frames;
}

test("row 33: frames that version 1 wrote are read as they were meant", () => {
  const frames = framesOf(fixture("v1/peer-frames.bin", () => encodeFrames(sampleFrames)));
  assert.deepEqual(
    frames.map(({ header, body }) => ({ header, body: joined(body) })),
    sampleFrames.map((sample) => ({ header: headerOf(sample), body: sample.body })),
  );
});

test("row 33: documents that version 1 wrote are still whole", () => {
  const parsers = new Map<number, (value: unknown) => { readonly ok: boolean }>([
    [frameType.greeting, parseGreeting],
    [frameType.proof, parseProof],
    [frameType.open, parseOpen],
    [frameType.opened, parseOpened],
    [frameType.refused, parseRefusal],
    [frameType.probe, parseProbe],
    [frameType.probeReply, parseProbe],
    [frameType.begin, parseBegin],
  ]);
  const frames = framesOf(fixture("v1/peer-frames.bin", () => encodeFrames(sampleFrames)));
  for (const { header, body } of frames) {
    const parse = parsers.get(header.type);
    if (parse === undefined) continue;
    const value: unknown = JSON.parse(textOf(joined(body)) ?? "");
    assert.deepEqual(parse(value).ok, true, `frame type ${header.type}`);
    parsers.delete(header.type);
  }
  assert.equal(parsers.size, 0, "every document was there");
});

test("what this build writes is what version 1 wrote, byte for byte", () => {
  assert.equal(peerVersions.highest, 1, "of a later version, compare its own fixture instead");
  const bytes = fixture("v1/peer-frames.bin", () => encodeFrames(sampleFrames));
  assert.deepEqual(encodeFrames(sampleFrames), bytes);
});
