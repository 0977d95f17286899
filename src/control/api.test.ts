import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createFakeSite } from "../../test/support/fake-site.ts";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { until } from "../../test/support/until.ts";
import type { RunningSite } from "./start-site.ts";
import { startSite } from "./start-site.ts";
import { loadConfig } from "./load-config.ts";

// The API as it runs: its real thread in front of a composed site, on a Unix socket, asked over HTTP. Only the engine
// behind it is a stand-in.

const text = `cluster: c
sites:
  east: { peer: "unix:./east.peer", api: "unix:./east.api", data: ./east }
  west: { peer: "unix:./west.peer", api: "unix:./west.api", data: ./west }
groups:
  bank: { primary: east, volumes: { data: { size: 1MiB } }, copies: { west: { mode: sync } } }
`;

let folder: string;
let site: RunningSite;
before(async () => {
  folder = makeTempFolder();
  fs.writeFileSync(join(folder, "antipode.yaml"), text);
  site = await startSite({
    config: loadConfig(join(folder, "antipode.yaml")),
    site: "east",
    createSite: createFakeSite,
    onTrouble: (message) => assert.fail(message),
  });
});
after(async () => {
  await site.stop();
  removeTempFolder(folder);
});

type Answer = {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
};

type Ask = {
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string;
};

function ask(path: string, { method = "GET", headers = {}, body }: Ask = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const socketPath = join(folder, "east.api");
  const request = http.request({ socketPath, path, method, headers, agent: false }, (response) => {
    let received = "";
    response.setEncoding("utf8").on("data", (chunk: string) => (received += chunk));
    response.on("end", () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text: received }),
    );
  });
  request.on("error", reject);
  request.end(body);
  return promise;
}

function post(path: string, body: unknown): Promise<Answer> {
  const headers = { "content-type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** The fields of an answer's JSON object. */
function fields(answer: Answer): Record<string, unknown> {
  const value: unknown = JSON.parse(answer.text);
  assert.ok(typeof value === "object" && value !== null);
  return { ...value };
}

test("GET /v1/status and /v1/groups/GROUP answer what the engine says", async () => {
  const answer = await ask("/v1/status");
  assert.equal(answer.status, 200);
  assert.match(answer.headers["content-type"] ?? "", /^application\/json/);
  assert.deepEqual(fields(answer), JSON.parse(JSON.stringify(site.status())));
  assert.equal(fields(await ask("/v1/groups/bank"))["name"], "bank");
});

test("a command is carried out and answers with its plan; a refused one is a problem with code and plan", async () => {
  const paused = await post("/v1/groups/bank/pause", { copy: "west" });
  assert.deepEqual(fields(paused), { ok: true, plan: ["west becomes paused"] });
  assert.equal(site.status().groups[0]?.copies[0]?.state, "paused");
  await post("/v1/groups/bank/resume", { copy: "west" });

  const refused = await post("/v1/groups/bank/promote", {});
  assert.equal(refused.status, 409);
  assert.match(refused.headers["content-type"] ?? "", /^application\/problem\+json/);
  assert.deepEqual(fields(refused), {
    type: "about:blank",
    title: "Refused as unsafe",
    status: 409,
    detail: "the primary answers",
    code: "unsafe",
    hint: "ask the test",
    plan: ["what would be lost"],
  });
});

test("what is not there or does not fit is a problem, and no command reaches the engine", async () => {
  const cases: readonly (readonly [number, Promise<Answer>])[] = [
    [404, ask("/v2/status")],
    [404, ask("/v1/groups/shop")],
    [404, post("/v1/groups/shop/demote", {})],
    [404, post("/v1/groups/bank/explode", {})],
    [400, post("/v1/groups/bank/pause", {})],
    [400, post("/v1/groups/bank/pause", { copy: 3 })],
    [400, post("/v1/groups/bank/demote", { dryrun: true })],
    [400, post("/v1/groups/bank/pause", { copy: "north" })],
    [400, ask("/v1/events?since=yesterday")],
    [413, post("/v1/groups/bank/pause", { copy: "x".repeat(100_000) })],
  ];
  for (const [status, promise] of cases) {
    const answer = await promise;
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.headers["content-type"] ?? "", /^application\/problem\+json/);
    assert.equal(fields(answer)["code"], "usage");
  }
});

test("a page in a browser cannot command the site: by another name, another origin, or a form", async () => {
  assert.equal((await ask("/v1/status", { headers: { host: "evil.example" } })).status, 403);
  assert.equal(
    (await ask("/v1/status", { headers: { host: "127.0.0.1.evil.example" } })).status,
    403,
  );
  assert.equal((await ask("/v1/status", { headers: { host: "[::1]:7201" } })).status, 200);
  const origin = {
    host: "localhost",
    origin: "http://evil.example",
    "content-type": "application/json",
  };
  const path = "/v1/groups/bank/demote";
  assert.equal((await ask(path, { method: "POST", headers: origin, body: "{}" })).status, 403);
  for (const type of ["text/plain", "application/x-www-form-urlencoded", undefined]) {
    const headers = type === undefined ? {} : { "content-type": type };
    assert.equal((await ask(path, { method: "POST", headers, body: "{}" })).status, 415);
  }
  assert.equal(site.status().groups[0]?.role, "primary");
});

test("/healthz complains while a copy is worse than its objective", async () => {
  assert.deepEqual(fields(await ask("/healthz")), { status: "ok", complaints: [] });
  await post("/v1/groups/bank/pause", { copy: "west" });
  const worse = await ask("/healthz");
  assert.equal(worse.status, 503);
  assert.match(worse.text, /copy west is paused/);
  await post("/v1/groups/bank/resume", { copy: "west" });
});

test("/metrics has the figures of status in Prometheus form", async () => {
  const answer = await ask("/metrics");
  assert.match(answer.headers["content-type"] ?? "", /^text\/plain; version=0.0.4/);
  const expected = [
    /^antipode_copy_recovery_point_timestamp_seconds\{group="bank",copy="west"\} \d{10}/m,
    /^antipode_copy_lag_bytes\{group="bank",copy="west"\} 0$/m,
    /^antipode_copy_state\{group="bank",copy="west",state="synchronized"\} 1$/m,
    /^antipode_volume_size_bytes\{group="bank",volume="data"\} 1048576$/m,
    /^antipode_engine_event_loop_delay_seconds\{quantile="0.99"\} /m,
    /^antipode_process_resident_memory_bytes \d+$/m,
  ];
  for (const line of expected) assert.match(answer.text, line);
  // A second scrape must not add counters up.
  const seconds = (from: string): number =>
    Number(/^antipode_process_cpu_seconds_total (\S+)$/m.exec(from)?.[1]);
  const again = await ask("/metrics");
  assert.ok(seconds(again.text) < 2 * seconds(answer.text) + 1);
});

test("events come as a list, by group and number, and as a stream that goes on where a reader stopped", async () => {
  await post("/v1/groups/bank/pause", { copy: "west" });
  const list: unknown = JSON.parse((await ask("/v1/events?group=bank")).text);
  assert.ok(Array.isArray(list) && list.length > 0);
  const last = site.status().groups.length > 0 ? Number((list.at(-1) as { seq: number }).seq) : 0;
  assert.equal((await ask(`/v1/events?since=${last}`)).text, "[]");
  assert.equal((await ask("/v1/events?group=shop")).text, "[]");

  let received = "";
  const socketPath = join(folder, "east.api");
  const headers = { "last-event-id": String(last - 1) };
  const request = http.get(
    { socketPath, path: "/v1/events/stream", headers, agent: false },
    (response) => {
      assert.equal(response.headers["content-type"], "text/event-stream; charset=utf-8");
      response.setEncoding("utf8").on("data", (chunk: string) => (received += chunk));
      response.on("error", () => undefined);
    },
  );
  request.on("error", () => undefined);
  await until("history", () => received.includes(`id: ${last}\n`));
  await post("/v1/groups/bank/resume", { copy: "west" });
  await until("a new event", () => received.includes(`id: ${last + 1}\nevent: change\ndata: {`));
  assert.ok(!received.includes(`id: ${last - 1}\n`));
  request.destroy();
});

test("a second site on the same data folder is refused, and the first goes on", async () => {
  const config = loadConfig(join(folder, "antipode.yaml"));
  const second = startSite({
    config,
    site: "east",
    createSite: createFakeSite,
    onTrouble: () => undefined,
  });
  await assert.rejects(second, { code: "failed", message: /data folder .* is in use/ });
  assert.equal((await ask("/v1/status")).status, 200);
});

test("a taken API address is refused by name, and nothing stays behind", async () => {
  const taken = http.createServer();
  await new Promise<void>((resolve) => taken.listen(join(folder, "west.api"), resolve));
  const config = loadConfig(join(folder, "antipode.yaml"));
  const options = { config, site: "west", createSite: createFakeSite, onTrouble: () => undefined };
  await assert.rejects(startSite(options), { code: "failed", message: /west\.api/ });
  await new Promise((resolve) => taken.close(resolve));
  const west = await startSite(options);
  await west.stop();
});
