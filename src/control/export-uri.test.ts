import assert from "node:assert/strict";
import { test } from "node:test";
import { exportUri } from "./export-uri.ts";

test("export URIs are those of the NBD project, over TCP, IPv6 and Unix sockets", () => {
  assert.equal(exportUri("127.0.0.1:10809", "bank/data"), "nbd://127.0.0.1:10809/bank/data");
  assert.equal(exportUri("[::1]:10809", "bank/data"), "nbd://[::1]:10809/bank/data");
  assert.equal(
    exportUri("unix:/run/my site/a&b.sock", "bank/data"),
    "nbd+unix:///bank/data?socket=/run/my%20site/a%26b.sock",
  );
});
