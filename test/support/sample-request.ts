import type { HostRequest, HostRequestKind } from "#ports/host-request.ts";

const blockBytes = 4096;

/** A host's request at the beginning of the first volume; a write has one block. */
export function sampleRequest(kind: HostRequestKind, more: Partial<HostRequest> = {}): HostRequest {
  return {
    kind,
    volume: 0,
    offset: 0,
    length: kind === "flush" ? 0 : blockBytes,
    payload: kind === "write" ? [new Uint8Array(blockBytes).fill(1)] : [],
    fua: false,
    mayPunch: false,
    onReply: () => undefined,
    lsn: 0,
    legs: 0,
    failure: "ok",
    ...more,
  };
}
