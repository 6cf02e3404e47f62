// A table of a map by id: the usual case, where the order is a sorting of the rows.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import { type Column, Table } from "./table";

interface ListProps<T> {
  caption: string;
  columns: readonly Column<T>[];
  rows: () => Record<string, T> | null | undefined;
  compare?: (a: T, b: T) => number;
  noun: string;
  /** What stands there instead of an empty table. */
  none: string;
  kind?: string;
}

export function List<T>({ caption, columns, rows, compare, noun, none, kind = "" }: ListProps<T>): JSX.Element {
  const order = useComputed(() => {
    const all = Object.entries(rows() ?? {});
    return all.sort(([x, a], [y, b]) => (compare?.(a, b) ?? 0) || x.localeCompare(y, "en", { numeric: true })).map(([id]) => id);
  });
  const isEmpty = useComputed(() => order.value.length === 0).value;
  if (isEmpty) return <p class="soft">{none}</p>;
  return <Table caption={caption} columns={columns} order={order} row={(id) => rows()?.[id]} noun={noun} kind={kind} />;
}
