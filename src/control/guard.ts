import type { IncomingHttpHeaders } from "node:http";
import { isLoopbackHost } from "#config/addresses.ts";
import type { Problem } from "./problem.ts";
import { problem } from "./problem.ts";

/**
 * Why a request must not be answered, or undefined. The API obeys whoever is on this machine, and a web page in a
 * browser on this machine must not be taken for that: neither through a name of its own that it points at 127.0.0.1
 * (DNS rebinding: the Host header then shows that name), nor by a request from another origin.
 */
export function refuseRequest(method: string, headers: IncomingHttpHeaders): Problem | undefined {
  const host = headers.host ?? "";
  if (!isLoopbackHost(hostName(host))) {
    const hint = "ask for it as localhost or 127.0.0.1";
    return problem(
      403,
      "usage",
      `the API does not answer under the name ${JSON.stringify(host)}`,
      hint,
    );
  }
  const origin = headers.origin;
  if (origin !== undefined && origin !== `http://${host}`) {
    return problem(403, "usage", "the API does not answer pages of another origin");
  }
  // Browsers send a form or a body without a type across origins unasked, but never JSON.
  if (method === "POST" && !/^application\/json\b/i.test(headers["content-type"] ?? "")) {
    return problem(
      415,
      "usage",
      "a command needs content-type: application/json",
      "send {} where nothing else is needed",
    );
  }
  return undefined;
}

function hostName(host: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(host);
  return (match?.[1] ?? match?.[2] ?? "").toLowerCase();
}
