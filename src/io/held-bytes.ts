/**
 * The memory that all connections of one server hold together for their clients. Each connection reports its changes
 * once a turn. When the budget is used up, connections that are between two requests stop reading and wait here.
 */
export type HeldBytes = {
  change(deltaBytes: number): void;
  total(): number;
  isFull(): boolean;
  /** Twice over: whoever makes us hold still more, in the middle of a request, has to go. */
  isExceeded(): boolean;
  /** Calls `resume` once when there is room again. */
  wait(resume: () => void): void;
  forget(resume: () => void): void;
};

export function createHeldBytes(bytesMax: number): HeldBytes {
  let bytes = 0;
  const waiting = new Set<() => void>();

  function wakeAll(): void {
    for (const resume of waiting) {
      if (bytes >= bytesMax) return;
      waiting.delete(resume);
      resume();
    }
  }

  return {
    change(deltaBytes) {
      bytes += deltaBytes;
      // Not at once: the connection that reports is in the middle of its own turn.
      if (deltaBytes < 0 && bytes < bytesMax && waiting.size > 0) setImmediate(wakeAll);
    },
    total: () => bytes,
    isFull: () => bytes >= bytesMax,
    isExceeded: () => bytes >= 2 * bytesMax,
    wait(resume) {
      waiting.add(resume);
    },
    forget(resume) {
      waiting.delete(resume);
    },
  };
}
