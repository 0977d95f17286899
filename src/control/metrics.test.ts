import assert from "node:assert/strict";
import { test } from "node:test";
import type { GroupStatus, VolumeStatus } from "#site/api.ts";
import { sampleGroup } from "../../test/support/fake-site.ts";
import { createMetrics } from "./metrics.ts";

const runtime = {
  loopDelay: { p50: 0, p99: 0, max: 0 },
  loopUtilization: 0,
  residentBytes: 0,
  heapBytes: 0,
  cpuSeconds: 0,
};

const here: VolumeStatus = { name: "log", bytes: 4096, state: "ok", uri: "" };

function groupWith(volumes: readonly VolumeStatus[]): GroupStatus {
  return sampleGroup({ role: "gateway", volumes });
}

function render(metrics: ReturnType<typeof createMetrics>, group: GroupStatus): Promise<string> {
  const status = { site: "east", version: "0", groups: [group] };
  return metrics.render({ status, runtime, nowSeconds: 0 });
}

test("A12: the link to a volume's device, and what the device lacks, are figures; volumes without one have none", async () => {
  const metrics = createMetrics();
  const device = { ...here, name: "data", device: "nbd://store/disk" };
  const away = { ...device, link: "device-down", deviceLagBytes: 8192 } as const;
  const text = await render(metrics, groupWith([away, here]));
  for (const line of [
    /^antipode_volume_device_link\{group="bank",volume="data",link="device-down"\} 1$/m,
    /^antipode_volume_device_link\{group="bank",volume="data",link="up"\} 0$/m,
    /^antipode_volume_device_lag_bytes\{group="bank",volume="data"\} 8192$/m,
    /^antipode_group_role\{group="bank",role="gateway"\} 1$/m,
  ])
    assert.match(text, line);
  assert.doesNotMatch(text, /antipode_volume_device_\w+\{group="bank",volume="log"/);

  const back = { ...device, link: "up", deviceLagBytes: 0 } as const;
  const again = await render(metrics, groupWith([back, here]));
  assert.match(again, /^antipode_volume_device_link\{group="bank",volume="data",link="up"\} 1$/m);
  assert.match(again, /^antipode_volume_device_lag_bytes\{group="bank",volume="data"\} 0$/m);
});
