import { unreachable } from "#base/assert.ts";
import type { IoFailure } from "#base/errors.ts";
import type { PrimaryEffect, PrimaryEvent } from "#core/primary-events.ts";
import type { Member } from "#core/primary-state.ts";
import {
  createDirtyMaps,
  eraseDirtyMaps,
  saveRecord,
  syncOpenMaps,
  writeDirtyMaps,
  writeOpenMaps,
} from "#store/group-store.ts";
import type { GroupStore } from "#store/group-store.ts";
import { keepReserve, orFromReserve } from "#store/reserve.ts";

// The part of a primary's driver that writes the group's maps and record.

export type StoreEffect = Extract<
  PrimaryEffect,
  {
    kind:
      | "syncOpenMaps"
      | "writeOpenMaps"
      | "writeDirtyMaps"
      | "createDirtyMaps"
      | "eraseDirtyMaps"
      | "record";
  }
>;

export type StoreOwner = {
  readonly store: GroupStore;
  readonly memberOf: (index: number) => Member;
  readonly submit: (event: PrimaryEvent) => void;
  readonly failed: (failure: IoFailure) => void;
};

/** Performs an effect; the machine hears of what takes time, the owner of what fails. */
export function performStore(
  { store, memberOf, submit, failed }: StoreOwner,
  effect: StoreEffect,
): void {
  const check = (failure: IoFailure | undefined): void => {
    if (failure !== undefined) failed(failure);
  };
  switch (effect.kind) {
    case "syncOpenMaps":
      return syncOpenMaps(store, (failure) => {
        if (failure === undefined) submit({ kind: "openMapDurable", ticket: effect.ticket });
        else failed(failure);
      });
    case "record":
      return saveRecord(store, (failure) => {
        if (failure === undefined) submit({ kind: "recorded", ticket: effect.ticket });
        else failed(failure);
      });
    case "writeOpenMaps":
      return check(writeOpenMaps(store));
    case "writeDirtyMaps":
      return check(writeDirtyMaps(store, memberOf(effect.member).site));
    case "createDirtyMaps": {
      const member = memberOf(effect.member);
      const make = (): IoFailure | undefined =>
        createDirtyMaps(store, member.site, member.dirty ?? []);
      return check(orFromReserve(store, make));
    }
    case "eraseDirtyMaps":
      check(eraseDirtyMaps(store, memberOf(effect.member).site));
      return keepReserve(store);
    default:
      return unreachable(effect);
  }
}
