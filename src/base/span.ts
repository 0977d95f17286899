/** Bytes `offset` to `offset + length` of something. */
export type Span = { readonly offset: number; readonly length: number };

/** Whether both have a byte in common. */
export function meets(a: Span, b: Span): boolean {
  return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

export function meetsAny(span: Span, others: Iterable<Span>): boolean {
  for (const other of others) if (meets(span, other)) return true;
  return false;
}
