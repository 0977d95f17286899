import { Counter, Gauge, Registry } from "prom-client";
import { copyStates, imageStates, linkStates, roles } from "#site/api.ts";
import type { CopyStatus, GroupStatus, SiteStatus } from "#site/api.ts";
import type { EngineRuntime } from "./bridge.ts";

/** A site's figures at one moment. */
export type Measured = {
  readonly status: SiteStatus;
  readonly runtime: EngineRuntime;
  /** Seconds since 1970. */
  readonly nowSeconds: number;
};

export type Metrics = {
  readonly contentType: string;
  /** The text that Prometheus reads. */
  render(measured: Measured): Promise<string>;
};

const volumeStates = ["ok", "failed", "readonly"] as const;

type Row<T> = {
  readonly name: string;
  readonly help: string;
  readonly value: (subject: T) => number;
};

const groupRows: readonly Row<GroupStatus>[] = [
  { name: "generation", help: "Generation of the group.", value: (group) => group.generation },
  { name: "lsn", help: "Number of the last write that was ordered.", value: (group) => group.lsn },
  {
    name: "serving",
    help: "1 while host requests are answered.",
    value: (group) => (group.serving ? 1 : 0),
  },
  {
    name: "requests_in_flight",
    help: "Host requests under way.",
    value: (group) => group.requestsInFlight,
  },
  {
    name: "open_granules",
    help: "Granules of the open map.",
    value: (group) => group.openGranules,
  },
  {
    name: "journal_used_bytes",
    help: "Bytes the journal holds.",
    value: (group) => group.journal.bytesUsed,
  },
  {
    name: "journal_limit_bytes",
    help: "Bytes the journal may hold.",
    value: (group) => group.journal.bytesMax,
  },
  {
    name: "journal_disk_full",
    help: "1 while the disk under the journal has no room for more of it: the limit is what it gives.",
    value: (group) => ((group.journal.diskFull ?? "") === "" ? 0 : 1),
  },
  {
    name: "journal_stalled_writes",
    help: "Host writes that wait for room.",
    value: (group) => group.journal.stalledWrites,
  },
  {
    name: "journal_overflow_seconds",
    help: "When the journal will be full if all goes on as of late; +Inf: not at all.",
    value: (group) => group.journal.overflowSeconds ?? Number.POSITIVE_INFINITY,
  },
  {
    name: "journal_pacing",
    help: "1 while hosts are let in no faster than the copies drain the journal.",
    value: (group) => (group.journal.isPacing ? 1 : 0),
  },
];

const copyRows: readonly Row<CopyStatus>[] = [
  {
    name: "received_lsn",
    help: "Highest write received, contiguous.",
    value: (copy) => copy.received,
  },
  { name: "staged_lsn", help: "Highest write staged, contiguous.", value: (copy) => copy.staged },
  {
    name: "complete_lsn",
    help: "Highest write complete, contiguous.",
    value: (copy) => copy.complete,
  },
  {
    name: "applied_lsn",
    help: "Highest write applied, contiguous.",
    value: (copy) => copy.applied,
  },
  { name: "lag_bytes", help: "What would be lost, at most.", value: (copy) => copy.lagBytes },
  {
    name: "lag_writes",
    help: "Writes that would be lost, at most.",
    value: (copy) => copy.lagWrites,
  },
  {
    name: "lag_seconds",
    help: "Age of the oldest write that would be lost.",
    value: (copy) => copy.lagSeconds,
  },
  {
    name: "apply_lag_bytes",
    help: "Complete and not yet applied.",
    value: (copy) => copy.applyLagBytes,
  },
  {
    name: "apply_lag_writes",
    help: "Writes complete and not applied.",
    value: (copy) => copy.applyLagWrites,
  },
  {
    name: "dirty_bytes",
    help: "Bytes of regions that the copy may lack.",
    value: (copy) => copy.dirtyBytes,
  },
];

const copyCounters: readonly Row<CopyStatus>[] = [
  {
    name: "resync_sent_bytes_total",
    help: "Bytes that resyncs sent.",
    value: (copy) => copy.resyncSentBytes,
  },
  {
    name: "resync_compared_bytes_total",
    help: "Bytes that resyncs compared.",
    value: (copy) => copy.resyncComparedBytes,
  },
];

/**
 * The figures of `status` in Prometheus form (INTERFACE, /metrics): prefix `antipode_`, base units, labels `group`,
 * `copy`, `volume`. A word such as a state is a gauge per possible word, 1 at the one that holds. Everything is set
 * anew for each answer, so that a group or copy that went away leaves nothing behind.
 */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const fill = [
    fillGroups(registry),
    fillVolumes(registry),
    fillCopies(registry),
    fillRuntime(registry),
  ];
  return {
    contentType: registry.contentType,
    render(measured) {
      registry.resetMetrics();
      for (const set of fill) set(measured);
      return registry.metrics();
    },
  };
}

type Fill = (measured: Measured) => void;

function gauge(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly string[],
): Gauge {
  return new Gauge({ name: `antipode_${name}`, help, labelNames, registers: [registry] });
}

function fillGroups(registry: Registry): Fill {
  const gauges = groupRows.map((row) => ({
    row,
    metric: gauge(registry, `group_${row.name}`, row.help, ["group"]),
  }));
  const role = gauge(registry, "group_role", "1 at the role that the site has.", ["group", "role"]);
  return ({ status }) => {
    for (const group of status.groups) {
      for (const { row, metric } of gauges) metric.set({ group: group.name }, row.value(group));
      setWord(role, roles, group.role, (word) => ({ group: group.name, role: word }));
    }
  };
}

function fillVolumes(registry: Registry): Fill {
  const size = gauge(registry, "volume_size_bytes", "Size of the volume.", ["group", "volume"]);
  const labels = ["group", "volume", "state"];
  const state = gauge(registry, "volume_state", "1 at the state that the volume is in.", labels);
  const link = gauge(registry, "volume_device_link", "1 at the state of the link to its device.", [
    "group",
    "volume",
    "link",
  ]);
  const lag = gauge(
    registry,
    "volume_device_lag_bytes",
    "What its device behind a link has not flushed, at most; the journal has it.",
    ["group", "volume"],
  );
  return ({ status }) => {
    for (const group of status.groups) {
      for (const volume of group.volumes) {
        const names = { group: group.name, volume: volume.name };
        size.set(names, volume.bytes);
        setWord(state, volumeStates, volume.state, (word) => ({ ...names, state: word }));
        // Volumes that lie here, or of a site that is not the primary, have no such link.
        if (volume.link === undefined) continue;
        setWord(link, linkStates, volume.link, (word) => ({ ...names, link: word }));
        lag.set(names, volume.deviceLagBytes ?? 0);
      }
    }
  };
}

function fillCopies(registry: Registry): Fill {
  const labels = ["group", "copy"];
  const gauges = copyRows.map((row) => ({
    row,
    metric: gauge(registry, `copy_${row.name}`, row.help, labels),
  }));
  const counters = copyCounters.map((row) => ({
    row,
    metric: new Counter({
      name: `antipode_copy_${row.name}`,
      help: row.help,
      labelNames: labels,
      registers: [registry],
    }),
  }));
  const recoveryPoint = gauge(
    registry,
    "copy_recovery_point_timestamp_seconds",
    "Instant up to which the copy has everything, in seconds since 1970; 0 while it has no consistent image.",
    labels,
  );
  const state = gauge(registry, "copy_state", "1 at the copy's state.", [...labels, "state"]);
  const image = gauge(registry, "copy_image", "1 at the state of the copy's image.", [
    ...labels,
    "image",
  ]);
  const link = gauge(registry, "copy_link", "1 at the state of the link.", [...labels, "link"]);
  return ({ status, nowSeconds }) => {
    for (const group of status.groups) {
      for (const copy of group.copies) {
        const names = { group: group.name, copy: copy.site };
        for (const { row, metric } of gauges) metric.set(names, row.value(copy));
        for (const { row, metric } of counters) metric.inc(names, row.value(copy));
        recoveryPoint.set(names, recoveryPointOf(copy, nowSeconds));
        setWord(state, copyStates, copy.state, (word) => ({ ...names, state: word }));
        setWord(image, imageStates, copy.image, (word) => ({ ...names, image: word }));
        setWord(link, linkStates, copy.link, (word) => ({ ...names, link: word }));
      }
    }
  };
}

function recoveryPointOf(copy: CopyStatus, nowSeconds: number): number {
  const hasPoint =
    copy.image === "synchronized" || copy.image === "consistent" || copy.image === "none";
  return hasPoint ? nowSeconds - copy.lagSeconds : 0;
}

function fillRuntime(registry: Registry): Fill {
  const build = gauge(registry, "build_info", "1, with the version and the site.", [
    "version",
    "site",
  ]);
  const delay = gauge(
    registry,
    "engine_event_loop_delay_seconds",
    "How late the engine's loop was since the last scrape.",
    ["quantile"],
  );
  const busy = gauge(
    registry,
    "engine_event_loop_busy_ratio",
    "Share of time the engine's loop was busy.",
    [],
  );
  const resident = gauge(
    registry,
    "process_resident_memory_bytes",
    "Memory of the whole process.",
    [],
  );
  const heap = gauge(registry, "engine_heap_bytes", "Heap in use by the engine's thread.", []);
  const cpu = new Counter({
    name: "antipode_process_cpu_seconds_total",
    help: "Processor time of the whole process.",
    registers: [registry],
  });
  return ({ status, runtime }) => {
    build.set({ version: status.version, site: status.site }, 1);
    delay.set({ quantile: "0.5" }, runtime.loopDelay.p50);
    delay.set({ quantile: "0.99" }, runtime.loopDelay.p99);
    delay.set({ quantile: "1" }, runtime.loopDelay.max);
    busy.set(runtime.loopUtilization);
    resident.set(runtime.residentBytes);
    heap.set(runtime.heapBytes);
    cpu.inc(runtime.cpuSeconds);
  };
}

function setWord(
  metric: Gauge,
  words: readonly string[],
  held: string,
  labels: (word: string) => Record<string, string>,
): void {
  for (const word of words) metric.set(labels(word), word === held ? 1 : 0);
}
