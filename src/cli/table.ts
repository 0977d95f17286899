import { stripVTControlCharacters } from "node:util";

/** Rows as aligned columns, two spaces apart, the last column ragged. Colours do not count as width. */
export function formatTable(rows: readonly (readonly string[])[], indent = ""): readonly string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => width(row[column] ?? ""))),
  );
  return rows.map((row) => {
    const cells = widths.map((size, column) => {
      const cell = row[column] ?? "";
      return cell + " ".repeat(size - width(cell));
    });
    return (indent + cells.join("  ")).trimEnd();
  });
}

function width(text: string): number {
  return stripVTControlCharacters(text).length;
}
