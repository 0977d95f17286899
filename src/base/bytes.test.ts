import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { restOf } from "./bytes.ts";

test("row 39: after a short write exactly the rest is left over, without empty chunks before it", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 5 })), fc.nat(40), (chunks, wanted) => {
      const whole = chunks.flatMap((chunk) => [...chunk]);
      const count = Math.min(wanted, whole.length);
      const rest = restOf(chunks, count);
      assert.deepEqual(
        rest.flatMap((chunk) => [...chunk]),
        whole.slice(count),
      );
      assert.notEqual(rest[0]?.length, 0);
    }),
  );
});
