import { wrong } from "#base/errors.ts";
import type { Result } from "#base/errors.ts";
import { peerVersions } from "./messages.ts";

// The first documents of a connection. GREETING goes both ways at once, then PROOF both ways:
//
//   greeting  { "antipode": 1, "protocol": { "lowest": 1, "highest": 1 }, "cluster", "site", "nonce", "bootId", "secured" }
//   proof     { "proof": hex of HMAC-SHA256(secret, "antipode peer proof" LF role LF cluster LF dialer LF listener LF
//                                                   dialer's nonce LF listener's nonce) }
//
// `role` is "dialer" or "listener", so that neither can send the other's own proof back to it. Without a secret the
// proof is empty, and a site that has one refuses a site that has none.

export type Greeting = {
  readonly antipode: 1;
  readonly protocol: { readonly lowest: number; readonly highest: number };
  readonly cluster: string;
  readonly site: string;
  readonly nonce: string;
  readonly bootId: string;
  readonly secured: boolean;
};

export type PeerRole = "dialer" | "listener";

export function parseGreeting(value: unknown): Result<Greeting> {
  if (!isObject(value) || value["antipode"] !== 1) return wrong("it does not speak our protocol");
  const { protocol, cluster, site, nonce, bootId, secured } = value;
  if (!isObject(protocol) || !isCount(protocol["lowest"]) || !isCount(protocol["highest"])) {
    return wrong("its greeting names no protocol versions");
  }
  if (!isText(cluster) || !isText(site) || !isText(nonce) || !isText(bootId)) {
    return wrong("its greeting is incomplete");
  }
  if (nonce.length < 32 || typeof secured !== "boolean") return wrong("its greeting is incomplete");
  const versions = { lowest: protocol["lowest"], highest: protocol["highest"] };
  return {
    ok: true,
    value: { antipode: 1, protocol: versions, cluster, site, nonce, bootId, secured },
  };
}

/** The version both speak, or why there is none. */
export function commonVersion(theirs: Greeting["protocol"]): Result<number> {
  const version = Math.min(theirs.highest, peerVersions.highest);
  if (version >= theirs.lowest && version >= peerVersions.lowest)
    return { ok: true, value: version };
  return wrong(
    `it speaks peer protocol ${theirs.lowest} to ${theirs.highest}, this build ` +
      `${peerVersions.lowest} to ${peerVersions.highest}; bring both sites to versions that overlap`,
  );
}

export function parseProof(value: unknown): Result<string> {
  if (!isObject(value) || !isText(value["proof"])) return wrong("its proof is incomplete");
  return { ok: true, value: value["proof"] };
}

/** The bytes that a proof signs, as text. */
export function proofText(
  role: PeerRole,
  cluster: string,
  dialer: { readonly site: string; readonly nonce: string },
  listener: { readonly site: string; readonly nonce: string },
): string {
  return [
    "antipode peer proof",
    role,
    cluster,
    dialer.site,
    listener.site,
    dialer.nonce,
    listener.nonce,
  ].join("\n");
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= 256;
}

export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
