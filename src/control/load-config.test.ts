import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { makeTempFolder, removeTempFolder } from "../../test/support/temp-folder.ts";
import { describeAbsent, loadConfig, withSecret } from "./load-config.ts";

const text = `cluster: c
secret: ./key
sites:
  east: { peer: "unix:./peer", api: "unix:./api", data: ./east }
`;

let folder: string;
let path: string;
before(() => {
  folder = makeTempFolder();
  path = join(folder, "antipode.yaml");
  fs.writeFileSync(path, text);
});
after(() => removeTempFolder(folder));

test("relative paths count from the file, not from where the command runs", () => {
  const config = loadConfig(path);
  assert.equal(config.sites.get("east")?.data, join(folder, "east"));
  assert.equal(config.sites.get("east")?.api, `unix:${join(folder, "api")}`);
  assert.equal(config.secretPath, join(folder, "key"));
});

test("a wrong file is refused with its first problem, its line, and how many there are", () => {
  const wrong = join(folder, "wrong.yaml");
  fs.writeFileSync(wrong, text.replace("cluster: c", "clutter: c").replace("data:", "date:"));
  assert.throws(() => loadConfig(wrong), {
    code: "config",
    message: `${wrong}:1: clutter: unknown key (and 1 more, see antipode check)`,
    hint: "did you mean cluster?",
  });
  assert.throws(() => loadConfig(join(folder, "none.yaml")), { code: "config", message: /ENOENT/ });
});

test("a secret is 32 bytes or 64 hex digits, and a warning says when others can read it", () => {
  const key = join(folder, "key");
  const bytes = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
  const config = loadConfig(path);
  for (const form of [bytes, `${bytes.toString("hex")}\n`, bytes.toString("hex").toUpperCase()]) {
    fs.writeFileSync(key, form);
    fs.chmodSync(key, 0o600);
    const closed = withSecret(config);
    assert.deepEqual(closed.config.secret, new Uint8Array(bytes));
    assert.deepEqual(closed.warnings, []);
  }
  fs.chmodSync(key, 0o644);
  assert.match(withSecret(config).warnings.join("\n"), /chmod 600/);
  for (const form of ["", "short", bytes.toString("hex").slice(1), Buffer.alloc(5000)]) {
    fs.writeFileSync(key, form);
    assert.throws(() => withSecret(config), {
      code: "config",
      message: /neither 32 bytes nor 64 hex digits/,
    });
  }
  fs.rmSync(key);
  assert.throws(() => withSecret(config), { code: "config", message: /cannot be read/ });
});

test("what the file names and this machine lacks is said: the secret, and the hooks' programs", () => {
  const wanting = join(folder, "wanting.yaml");
  const hook = join(folder, "hook");
  const group =
    "{ primary: east, volumes: { data: { size: 1MiB } }, hooks: { onPromote: ./hook } }";
  const other = text.replace("./key", "./none");
  fs.writeFileSync(wanting, `${other}groups:\n  bank: ${group}\n`);
  const absent = (): string => describeAbsent(loadConfig(wanting)).join("\n");
  assert.match(
    absent(),
    /^the secret .*none cannot be read: ENOENT.*; a site here would not start$/m,
  );
  assert.match(absent(), /^hooks\.onPromote of group bank: .*hook cannot be run here: ENOENT/m);
  fs.writeFileSync(hook, "#!/bin/sh\n", { mode: 0o700 });
  assert.doesNotMatch(absent(), /onPromote/);
});
