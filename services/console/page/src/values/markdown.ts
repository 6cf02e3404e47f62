// Markdown of a version's card as a tree of values. No HTML comes out of it: what is not understood stays text.

export type Inline = string | { kind: "code" | "strong" | "em"; text: string } | { kind: "link"; text: string; href: string };
export type Block =
  | { kind: "heading"; level: number; text: Inline[] }
  | { kind: "paragraph"; text: Inline[] }
  | { kind: "code"; text: string }
  | { kind: "list"; isOrdered: boolean; items: Inline[][] }
  | { kind: "table"; head: Inline[][]; rows: Inline[][][] };

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|(?<![\w*])[*_]([^*_\s][^*_]*)[*_](?!\w)|\[([^\]]+)\]\(([^)\s]+)\)/g;
/** Only what leads to a page; `javascript:` and the like stay text. */
const isSafe = (href: string): boolean => /^(https?:\/\/|\/(?!\/)|#)/.test(href);

export function inline(text: string): Inline[] {
  const parts: Inline[] = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, code, strong, em, label, href] = found;
    if (found.index > from) parts.push(text.slice(from, found.index));
    if (code) parts.push({ kind: "code", text: code });
    else if (strong) parts.push({ kind: "strong", text: strong });
    else if (em) parts.push({ kind: "em", text: em });
    else if (label && href && isSafe(href)) parts.push({ kind: "link", text: label, href });
    else parts.push(whole);
    from = found.index + whole.length;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

const cells = (line: string): Inline[][] => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => inline(cell.trim()));
const ITEM = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const RULE = /^\s*\|?[\s:|-]*-[\s:|-]*\|?\s*$/;

/** What is written before the text for machines, between two lines of `---`. */
const FRONT = /^---\n[\s\S]*?\n---(?:\n|$)/;

export function blocks(source: string): Block[] {
  const lines = source.replace(/\r\n?/g, "\n").replace(FRONT, "").split("\n");
  const found: Block[] = [];
  let at = 0;
  const line = (): string => lines[at] ?? "";
  const while_ = (holds: (text: string) => boolean): string[] => {
    const from = at;
    while (at < lines.length && holds(line())) at += 1;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line());
    if (!line().trim()) at += 1;
    else if (heading) {
      found.push({ kind: "heading", level: heading[1]?.length ?? 1, text: inline(heading[2] ?? "") });
      at += 1;
    } else if (line().startsWith("```")) {
      at += 1;
      found.push({ kind: "code", text: while_((text) => !text.startsWith("```")).join("\n") });
      at += 1;
    } else if (line().includes("|") && RULE.test(lines[at + 1] ?? "")) {
      const [head = "", , ...rows] = while_((text) => text.includes("|"));
      found.push({ kind: "table", head: cells(head), rows: rows.map(cells) });
    } else if (ITEM.test(line())) {
      const isOrdered = Boolean(ITEM.exec(line())?.[1]);
      const items = joined(while_((text) => ITEM.test(text) || /^\s{2,}\S/.test(text)));
      found.push({ kind: "list", isOrdered, items: items.map(inline) });
    } else found.push({ kind: "paragraph", text: inline(paragraph(while_)) });
  }
  return found;
}

/** Items of a list with the lines that continue them. */
function joined(lines: string[]): string[] {
  const items: string[] = [];
  for (const text of lines) {
    const item = ITEM.exec(text);
    if (item) items.push(item[2] ?? "");
    else items[items.length - 1] += ` ${text.trim()}`;
  }
  return items;
}

function paragraph(while_: (holds: (text: string) => boolean) => string[]): string {
  let isFirst = true;
  const lines = while_((text) => {
    const goesOn = isFirst || (Boolean(text.trim()) && !/^(#{1,6}\s|```)/.test(text) && !ITEM.test(text));
    isFirst = false;
    return goesOn;
  });
  return lines.map((text) => text.trim()).join(" ");
}
