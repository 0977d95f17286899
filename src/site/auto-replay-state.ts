/** What has come of replays that were to begin by themselves, since the primary fell silent. */
export type AutoReplayState = {
  /** One has been asked for, and has not ended. */
  isAsked: boolean;
  /** Times that one was refused or cut short, and when the next may be asked for, by the monotonic clock. */
  tries: number;
  notBeforeMs: number;
  /** Why the last one came to nothing, or "". */
  failedWhy: string;
  /** What was told last, numbers aside: it is told once. */
  told: string;
};

export function noAutoReplay(): AutoReplayState {
  return { isAsked: false, tries: 0, notBeforeMs: 0, failedWhy: "", told: "" };
}
