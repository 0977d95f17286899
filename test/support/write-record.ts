import type { GroupRecord } from "#core/group-record.ts";
import { encodeRecord, writeEncoded } from "#store/record-file.ts";
import type { RecordFile, RecordWaiter } from "#store/record-file.ts";

/** Makes the record, as it is now, durable; then calls `done`. */
export function writeRecord(store: RecordFile, record: GroupRecord, done: RecordWaiter): void {
  writeEncoded(store, encodeRecord(record), done);
}
