import { wrong } from "#base/errors.ts";
import type { Result } from "#base/errors.ts";
import { isCount, isObject, isText } from "./handshake.ts";

// The JSON documents between a primary and a relay, in the session in which the relay is given the log (SPEC-relay.md).

/** FEED: the relay is to feed this copy from its log, in the session that the primary has with the copy. */
export type Feed = {
  readonly site: string;
  /** Of the primary: with the epoch it says which session, also to the copy. */
  readonly incarnation: number;
  /** Of the session with the copy; END, APPLIED and FEEDLOST name it. */
  readonly epoch: number;
  /** The copy has everything before this set. */
  readonly fromSet: number;
  readonly connections: number;
  readonly compress?: "on" | "auto";
};

/** FEEDLOST: the relay feeds that copy no more. */
export type FeedLost = {
  readonly epoch: number;
  readonly why: string;
  /** Its log cannot bring that copy up: trying again would come to the same. */
  readonly isUnreadable: boolean;
};

export function parseFeed(value: unknown): Result<Feed> {
  if (!isObject(value)) return wrong("FEED is no document");
  const { site, incarnation, epoch, fromSet, connections, compress } = value;
  if (!isText(site) || !isCount(incarnation)) return wrong("FEED is incomplete");
  if (!isCount(epoch) || !isCount(fromSet)) return wrong("FEED is incomplete");
  if (!isCount(connections) || connections < 1) return wrong("FEED names no connections");
  if (compress !== undefined && compress !== "on" && compress !== "auto")
    return wrong("FEED packs in no way of ours");
  const feed = { site, incarnation, epoch, fromSet, connections };
  return { ok: true, value: compress === undefined ? feed : { ...feed, compress } };
}

export function parseFeedLost(value: unknown): Result<FeedLost> {
  if (!isObject(value)) return wrong("FEEDLOST is no document");
  const { epoch, why, isUnreadable } = value;
  if (!isCount(epoch) || typeof why !== "string" || typeof isUnreadable !== "boolean")
    return wrong("FEEDLOST is incomplete");
  return { ok: true, value: { epoch, why: why.slice(0, 500), isUnreadable } };
}
