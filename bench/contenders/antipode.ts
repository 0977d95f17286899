import { startCluster } from "./cluster.ts";
import type { Contender } from "./contender.ts";

/** Antipode without copies: its NBD export, its order and its open map, but no session. */
export const antipode: Contender = {
  title: "Antipode",
  start: (place) => startCluster(place, { name: "antipode", mode: undefined }),
};

/** Antipode with one synchronous copy, every site a process of its own; started when the copy is `synchronized`. */
export const antipodeMirror: Contender = {
  title: "Antipode mirror",
  start: (place) => startCluster(place, { name: "antipode-mirror", mode: "sync" }),
};

/** Antipode with one asynchronous copy: a write is answered when it is in the journal and the image here. */
export const antipodeAsync: Contender = {
  title: "Antipode async",
  start: (place) => startCluster(place, { name: "antipode-async", mode: "async" }),
};

/** Antipode with a copy that gets folded cycles of a second; a write is answered as above. */
export const antipodeCycle: Contender = {
  title: "Antipode cycle",
  start: (place) =>
    startCluster(place, {
      name: "antipode-cycle",
      mode: "cycle",
      copyOptions: "ackAt: journal",
    }),
};
