import assert from "node:assert/strict";
import type { Connection } from "#ports/transport.ts";
import { createSessionWire } from "#site/session-wire.ts";
import type { SessionWire } from "#site/session-wire.ts";
import { createHeaderPool } from "#wire/peer/encode.ts";

/** A session's wire to this site that gives all that is sent to `send`, as copies. `link` says how much waits to go out. */
export function wireTo(
  site: string,
  send: (bytes: Uint8Array) => void,
  link: { readonly queuedBytes: number } = { queuedBytes: 0 },
): SessionWire {
  const nothing = (): void => undefined;
  const connection: Connection = {
    remote: site,
    send: (chunks) => chunks.forEach((chunk) => send(chunk.slice())),
    queuedBytes: () => link.queuedBytes,
    pause: nothing,
    resume: nothing,
    take: (bytes) => new Uint8Array(bytes),
    giveBack: nothing,
    end: nothing,
    close: nothing,
  };
  const handlers = { onFrame: nothing, onChunkEnd: nothing, onDrain: nothing, onLost: nothing };
  const peer = { site, connection, pool: createHeaderPool(), ...handlers };
  const crypto = {
    randomBytes: () => assert.fail("no randomness"),
    hmacSha256: () => assert.fail("no secret"),
    hash64: () => assert.fail("no hash"),
  };
  return createSessionWire(peer, 1, 1, crypto);
}
