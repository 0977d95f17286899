import type { CheckerFactory } from "../checker.ts";
import { ackChecker } from "./acks.ts";
import { boundsChecker } from "./bounds.ts";
import { autoReplayChecker } from "./auto-replay.ts";
import { branchChecker } from "./branch.ts";
import { bunkerChecker } from "./bunker.ts";
import { cycleChecker } from "./cycles.ts";
import { detectorChecker } from "./detector.ts";
import { eventChecker } from "./events.ts";
import { gatewayChecker } from "./gateways.ts";
import { handoverChecker } from "./handovers.ts";
import { honestyChecker } from "./honesty.ts";
import { integrityChecker } from "./integrity.ts";
import { leakChecker } from "./leaks.ts";
import { mapChecker } from "./maps.ts";
import { metadataChecker } from "./metadata.ts";
import { orderChecker } from "./order.ts";
import { preserveChecker } from "./preserve.ts";
import { primaryFailureChecker } from "./primary-failure.ts";
import { readChecker } from "./reads.ts";
import { roleChecker } from "./roles.ts";
import { setChecker } from "./sets.ts";
import { stagingChecker } from "./staging.ts";

export const allCheckers: readonly CheckerFactory[] = [
  ackChecker,
  orderChecker,
  readChecker,
  mapChecker,
  roleChecker,
  honestyChecker,
  integrityChecker,
  boundsChecker,
  leakChecker,
  metadataChecker,
  detectorChecker,
  primaryFailureChecker,
  setChecker,
  stagingChecker,
  preserveChecker,
  handoverChecker,
  branchChecker,
  bunkerChecker,
  autoReplayChecker,
  cycleChecker,
  gatewayChecker,
  eventChecker,
];
