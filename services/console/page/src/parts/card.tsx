// Markdown as elements: what comes from the log never becomes HTML.
import type { ComponentChildren, JSX } from "preact";
import { type Block, blocks, type Inline } from "../values/markdown";

export const Card = ({ text }: { text: string }): JSX.Element => <div class="card">{blocks(text).map((block, index) => <Piece key={index} block={block} index={index} />)}</div>;

const spans = (parts: readonly Inline[]): ComponentChildren =>
  parts.map((part) => {
    if (typeof part === "string") return part;
    if (part.kind === "link") return <a href={part.href}>{part.text}</a>;
    const Tag = part.kind;
    return <Tag>{part.text}</Tag>;
  });

function Piece({ block, index: place }: { block: Block; index: number }): JSX.Element {
  switch (block.kind) {
    case "heading": {
      // The page has one h1 and its panels h2: the card's headings stand below them.
      const Tag = block.level <= 2 ? "h3" : "h4";
      return <Tag>{spans(block.text)}</Tag>;
    }
    case "paragraph":
      return <p>{spans(block.text)}</p>;
    case "code":
      return <pre tabIndex={0}><code>{block.text}</code></pre>;
    case "list": {
      const Tag = block.isOrdered ? "ol" : "ul";
      return <Tag>{block.items.map((item, index) => <li key={index}>{spans(item)}</li>)}</Tag>;
    }
    case "table":
      return (
        <div class="scroll" tabIndex={0} role="region" aria-label={`table of the card, part ${place + 1}`}>
          <table>
            <thead><tr>{block.head.map((cell, index) => cell.length ? <th key={index} scope="col">{spans(cell)}</th> : <td key={index} />)}</tr></thead>
            <tbody>{block.rows.map((row, index) => <tr key={index}>{row.map((cell, at) => <td key={at}>{spans(cell)}</td>)}</tr>)}</tbody>
          </table>
        </div>
      );
  }
}
