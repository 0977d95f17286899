// The words that status, events and records share; INTERFACE's tables list them.

export const roles = ["primary", "secondary", "bunker", "gateway", "demoted"] as const;
export type Role = (typeof roles)[number];

/** The site has the primary's part: also as a gateway, which is a primary in front of devices (A7). */
export function isPrimaryRole(role: Role): boolean {
  return role === "primary" || role === "gateway";
}

export const copyStates = [
  "init-sync",
  "synchronized",
  "streaming",
  "buffering",
  "replaying",
  "fractured",
  "tripped",
  "resync",
  "paused",
  "split-brain",
  "stopped",
] as const;
export type CopyState = (typeof copyStates)[number];

export const imageStates = [
  "synchronized",
  "consistent",
  "synchronizing",
  "out-of-sync",
  "none",
] as const;
export type ImageState = (typeof imageStates)[number];

export const linkStates = ["up", "wan-down", "device-down", "peer-down"] as const;
export type LinkState = (typeof linkStates)[number];
