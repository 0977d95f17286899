// A batch: what one turn of a primary's loop put into the group's order. It is one record of the journal, one frame on the
// wire and one record of a copy's staging log, byte for byte. Version 1, little-endian.
//
// The table is a line of 56 bytes for each entry, in the order of LSNs:
//
//    0  u8  kind: 1 write, 2 zero, 3 seal   1  u8  flags: 1 mayPunch   2  u16 volume   4  u32 index
//    8  u64 lsn             16  u64 set          24  u64 offset (a seal: covers from this set on)
//   32  u32 length (a seal: 0)                   36  u32 CRC32C of the payload (a seal: the set's digest)
//   40  u16 source          42  u16 zero         44  u32 incarnation          48  u64 stamp: a seal's wall clock in ms
//
// The payloads of the writes follow the table, in its order, without gaps. Whoever stores or sends a batch guards the table
// by a checksum of its own; each payload is guarded by its line, so that it is checksummed once at the primary, where it
// comes in, and once where it arrives.
//
// Version history:
//   1  the first.

export const batchLineBytes = 56;

export const lineKind = { write: 1, zero: 2, seal: 3 } as const;

export const lineFlags = { mayPunch: 1 } as const;
