import assert from "node:assert/strict";
import { test } from "node:test";
import { createMemoryVolume } from "../support/memory-volume.ts";
import { startNbdBench } from "../support/nbd-bench.ts";
import { missing } from "../support/needs.ts";
import { runGood } from "../support/run-command.ts";

const MiB = 1 << 20;
const needs = { skip: missing("libnbd-bin", "python3-libnbd") };

/** Defines `fails(errno, function)`, and lets through requests that libnbd itself would refuse to send. */
const prelude = `
import errno
h.set_strict_mode(0)
def fails(code, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errno == code, (error.errno, code)
        return
    assert False, "should have failed with " + code
`;

for (const structured of [true, false]) {
  const kind = structured ? "structured" : "simple";
  const connect = (uri: string): string =>
    `${prelude}\nh.set_request_structured_replies(${structured ? "True" : "False"})\nh.connect_uri("${uri}")\n` +
    `assert h.get_structured_replies_negotiated() == ${structured ? "True" : "False"}\n`;

  test(`NBD: offsets and lengths down to one byte, ${kind} replies`, needs, async (t) => {
    const volume = createMemoryVolume("bank", "data", 3 * MiB + 3);
    const bench = await startNbdBench(t, [volume]);
    await nbdsh(`${connect(bench.uri("bank/data"))}
expected = bytearray(3 * 1048576 + 3)
for step in range(200):
    offset = (step * 104729) % (len(expected) - 70000)
    length = 1 + (step * step * 7) % 70000
    if step % 5 == 4:
        h.zero(length, offset)
        expected[offset:offset+length] = bytes(length)
    else:
        data = bytes([(step + 1) % 256]) * length
        h.pwrite(data, offset)
        expected[offset:offset+length] = data
h.pwrite(b"z", len(expected) - 1)
expected[-1:] = b"z"
assert h.pread(1, len(expected) - 1) == b"z"
assert h.pread(len(expected), 0) == expected
assert h.pread(17, 4095) == expected[4095:4112]
`);
  });

  test(
    `NBD: a request of 32 MiB is served, a longer one refused, ${kind} replies`,
    needs,
    async (t) => {
      const bench = await startNbdBench(t, [createMemoryVolume("bank", "data", 64 * MiB)]);
      await nbdsh(`${connect(bench.uri("bank/data"))}
most = 32 * 1048576
data = bytes([7]) * most
h.pwrite(data, 5)
assert h.pread(most, 5) == data
fails("EINVAL", lambda: h.pwrite(data + b"x", 0))
fails("${structured ? "EOVERFLOW" : "EINVAL"}", lambda: h.pread(most + 1, 0))
h.zero(2 * most, 0)
assert h.pread(6, most) == bytes(6)
`);
    },
  );

  test(
    `NBD: what reaches beyond the end fails and changes nothing, ${kind} replies`,
    needs,
    async (t) => {
      const volume = createMemoryVolume("bank", "data", MiB);
      const bench = await startNbdBench(t, [volume]);
      await nbdsh(`${connect(bench.uri("bank/data"))}
fails("EINVAL", lambda: h.pread(2, 1048575))
fails("ENOSPC", lambda: h.pwrite(b"xx", 1048575))
fails("ENOSPC", lambda: h.zero(2, 1048575))
fails("EINVAL", lambda: h.trim(2, 1048575))
fails("EINVAL", lambda: h.cache(512, 0))
fails("EINVAL", lambda: h.pread(0, 0))
h.flush()
assert h.pread(1, 1048575) == bytes(1)
`);
      assert.deepEqual(
        volume.seen.map((each) => each.kind),
        ["flush", "read"],
      );
    },
  );

  test(`NBD: an engine's failures have their names, ${kind} replies`, needs, async (t) => {
    const volume = createMemoryVolume("bank", "data", MiB);
    const bench = await startNbdBench(t, [volume]);
    for (const [outcome, code] of [
      ["io", "EIO"],
      ["full", "ENOSPC"],
      ["gone", "ESHUTDOWN"],
    ] as const) {
      volume.outcome = outcome;
      await nbdsh(`${connect(bench.uri("bank/data"))}
fails("${code}", lambda: h.pwrite(b"x", 0))
fails("${code}", lambda: h.pread(1, 0))
fails("${code}", lambda: h.flush())
`);
    }
  });
}

test("NBD: FUA, NO_HOLE and TRIM reach the engine as what they are", needs, async (t) => {
  const volume = createMemoryVolume("bank", "data", 8 * MiB);
  const bench = await startNbdBench(t, [volume]);
  await nbdsh(`h.connect_uri("${bench.uri("bank/data")}")
h.pwrite(b"a" * 512, 0, nbd.CMD_FLAG_FUA)
h.pwrite(b"a" * 512, 512)
h.zero(4096, 0)
h.zero(4096, 0, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
h.trim(4096, 0, nbd.CMD_FLAG_FUA)
h.flush()
`);
  const seen = volume.seen.map(({ kind, fua, mayPunch }) => ({ kind, fua, mayPunch }));
  assert.deepEqual(seen, [
    { kind: "write", fua: true, mayPunch: false },
    { kind: "write", fua: false, mayPunch: false },
    { kind: "zero", fua: false, mayPunch: true },
    { kind: "zero", fua: true, mayPunch: false },
    { kind: "zero", fua: true, mayPunch: true },
    { kind: "flush", fua: false, mayPunch: false },
  ]);
});

test("NBD: DF reads come in one chunk, and BLOCK_STATUS obeys REQ_ONE", needs, async (t) => {
  const bench = await startNbdBench(t, [createMemoryVolume("bank", "data", 4 * MiB)]);
  await nbdsh(`h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri("${bench.uri("bank/data")}")
h.pwrite(b"d" * 4096, 65536)
chunks = []
def chunk(data, offset, status, error):
    chunks.append((len(data), offset, status))
h.pread_structured(1048576, 1, chunk, nbd.CMD_FLAG_DF)
assert chunks == [(1048576, 1, nbd.READ_DATA)], chunks
extents = []
def extent(context, offset, entries, error):
    extents.append((context, offset, list(entries)))
h.block_status(4194304, 0, extent)
h.block_status(4194204, 100, extent, nbd.CMD_FLAG_REQ_ONE)
hole = nbd.STATE_HOLE | nbd.STATE_ZERO
assert extents == [
    ("base:allocation", 0, [65536, hole, 4096, 0, 4194304 - 69632, hole]),
    ("base:allocation", 100, [65436, hole]),
], extents
`);
});

test("NBD: a flush on one connection covers what was answered on another", needs, async (t) => {
  const volume = createMemoryVolume("bank", "data", MiB);
  const bench = await startNbdBench(t, [volume]);
  await nbdsh(`h.connect_uri("${bench.uri("bank/data")}")
other = nbd.NBD()
other.connect_uri("nbd://127.0.0.1:${bench.port}/bank/data")
assert h.can_multi_conn() and other.can_multi_conn()
h.pwrite(b"x" * 512, 0)
other.flush()
assert other.pread(512, 0) == b"x" * 512
`);
  assert.deepEqual(
    volume.seen.map((each) => each.kind),
    ["write", "flush", "read"],
  );
});

test("NBD: INFO, LIST and ABORT before an export is entered", needs, async (t) => {
  const bench = await startNbdBench(t, [
    createMemoryVolume("bank", "data", MiB),
    createMemoryVolume("bank", "log", 2 * MiB),
  ]);
  await nbdsh(`h.set_opt_mode(True)
h.connect_unix("${bench.socket}")
names = []
assert h.opt_list(lambda name, description: names.append(name)) == 2
assert names == ["bank/data", "bank/log"], names
h.set_export_name("bank/log")
h.opt_info()
assert h.get_size() == 2097152
contexts = []
h.opt_list_meta_context(lambda name: contexts.append(name))
assert contexts == ["base:allocation"], contexts
h.set_export_name("bank/data")
h.opt_go()
assert h.get_size() == 1048576
again = nbd.NBD()
again.set_opt_mode(True)
again.connect_unix("${bench.socket}")
again.opt_abort()
`);
});

function nbdsh(script: string): Promise<string> {
  return runGood("nbdsh", ["-c", script]);
}
