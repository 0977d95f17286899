// The words that status, events and records share; INTERFACE's tables list them.

export type Role = "primary" | "secondary" | "bunker" | "gateway" | "demoted";

export type CopyState =
  | "init-sync"
  | "synchronized"
  | "streaming"
  | "buffering"
  | "replaying"
  | "fractured"
  | "tripped"
  | "resync"
  | "paused"
  | "split-brain"
  | "stopped";

export type ImageState = "synchronized" | "consistent" | "synchronizing" | "out-of-sync" | "none";

export type LinkState = "up" | "wan-down" | "device-down" | "peer-down";
