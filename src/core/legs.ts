import type { HostRequest } from "#ports/host-request.ts";
import { joinFlush } from "./flush.ts";
import type { PrimaryEffect } from "./primary-events.ts";
import type { Primary } from "./primary-state.ts";
import { reply } from "./replies.ts";

/**
 * A leg of a write has answered. After the last one, the host gets its reply, or waits for the flush that FUA asks for.
 */
export function legDone(primary: Primary, request: HostRequest, out: PrimaryEffect[]): void {
  request.legs -= 1;
  if (request.legs > 0) return;
  if (request.failure !== "ok") return reply(primary, request, request.failure, out);
  if (request.fua || primary.durability === "write") return joinFlush(primary, request, out);
  reply(primary, request, "ok", out);
}
