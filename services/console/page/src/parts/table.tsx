// Tables. Rows keep their place while somebody looks (the pointer or the focus is in the table); what is new waits and says so.
// On a narrow screen each row becomes a block whose values carry the names of their columns.
import { type ReadonlySignal, untracked, useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { held, type Sort, turned } from "../values/order";
import { things } from "../values/numbers";
import { withParameter } from "../live/address";
import { isPainted, onPainted, useSeen, useSlowTurn } from "./seen";

// Rows that a screen may show; the others are drawn when these are painted.
const FIRST_ROWS = 40;

export interface Column<T> {
  key: string;
  head: string;
  /** Numbers stand at the right, so that their digits can be compared. */
  isNumber?: boolean;
  /** Sorted by a click; the better end is the higher one. */
  sorts?: "up" | "down";
  cell: (row: T, id: string) => ComponentChildren;
}

interface TableProps<T> {
  caption: string;
  columns: readonly Column<T>[];
  /** Ids in the order that is wanted. */
  order: ReadonlySignal<string[]>;
  row: (id: string) => T | undefined;
  sort?: Sort;
  /** What is new, for the sentence that announces it. */
  noun?: string;
  rowClass?: (row: T) => string | undefined;
  kind?: string;
  /** A new search is shown at once, whoever looks. */
  search?: string;
  /** Many rows that change all the time: those off the screen follow every few seconds. */
  isLively?: boolean;
}

/** The order that is shown: the wanted one, unless somebody looks. `key`: a new search or sorting is shown at once. */
function useHeldOrder(wanted: ReadonlySignal<string[]>, key: string): { order: string[]; fresh: number; release: () => void; looking: (is: boolean) => void } {
  const isLookedAt = useSignal(false);
  const shown = useRef<{ key: string; order: string[] }>({ key, order: [] });
  const releases = useSignal(0);
  const current = wanted.value;
  void releases.value; // shown anew when the person has asked for what is new
  if (!isLookedAt.value || shown.current.key !== key || !shown.current.order.length) shown.current = { key, order: current };
  const kept = held(shown.current.order, current);
  return {
    ...kept,
    looking: (is) => (isLookedAt.value = is),
    release: () => {
      shown.current = { key, order: wanted.peek() };
      releases.value += 1;
    },
  };
}

export function Table<T>({ caption, columns, order, row, sort, noun = "row", rowClass, kind = "", search = "", isLively = false }: TableProps<T>): JSX.Element {
  useEffect(onPainted, []);
  const shown = useHeldOrder(order, `${search} ${sort?.by} ${sort?.isDown}`);
  return (
    <div
      class="table"
      onPointerEnter={() => shown.looking(true)}
      onPointerLeave={() => shown.looking(false)}
      onFocusIn={() => shown.looking(true)}
      onFocusOut={() => shown.looking(false)}
    >
      {shown.fresh > 0 && <button type="button" class="quiet fresh" onClick={shown.release}>{things(shown.fresh, `new ${noun}`)}: show</button>}
      <table class={kind}>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>{columns.map((column) => <Head key={column.key} column={column} sort={sort} />)}</tr>
        </thead>
        <tbody>
          {shown.order.map((id, index) => <Row key={id} id={id} columns={columns} row={row} rowClass={rowClass} index={index} isLively={isLively} />)}
        </tbody>
      </table>
    </div>
  );
}

function Head<T>({ column, sort }: { column: Column<T>; sort: Sort | undefined }): JSX.Element {
  const kind = `${column.isNumber ? "number" : ""} c-${column.key}`;
  if (!sort || !column.sorts) return <th scope="col" class={kind}>{column.head}</th>;
  const isSorted = sort.by === column.key;
  return (
    <th scope="col" class={kind} aria-sort={isSorted ? (sort.isDown ? "descending" : "ascending") : "none"}>
      <a href={withParameter("sort", turned(sort, column.key, column.sorts === "down"))} data-keep>
        {column.head}
        <span aria-hidden="true">{isSorted ? (sort.isDown ? " ↓" : " ↑") : ""}</span>
      </a>
    </th>
  );
}

interface RowProps<T> {
  id: string;
  columns: readonly Column<T>[];
  row: (id: string) => T | undefined;
  rowClass: ((row: T) => string | undefined) | undefined;
  index: number;
  isLively: boolean;
}

// A row reads its own part of the document: it is drawn again only when that part has changed.
function Row<T>({ id, columns, row, rowClass, index, isLively }: RowProps<T>): JSX.Element | null {
  const isFirst = index < FIRST_ROWS;
  const seen = useSeen(isFirst);
  const turn = useSlowTurn(index);
  const value = useComputed(() => {
    if (!isFirst && !isPainted.value) return undefined;
    if (!isLively || seen.is.value) return row(id);
    void turn.value;
    return untracked(() => row(id));
  }).value;
  if (value == null) return <tr ref={seen.ref}><th scope="row">{id}</th><td colSpan={columns.length - 1} /></tr>;
  return (
    <tr ref={seen.ref} class={rowClass?.(value)}>
      {columns.map((column, index) => {
        const kind = `${column.isNumber ? "number" : ""} c-${column.key}`;
        const content = column.cell(value, id);
        return index === 0 ? <th key={column.key} scope="row" class={kind}>{content}</th> : <td key={column.key} class={kind} data-head={column.head}>{content}</td>;
      })}
    </tr>
  );
}
