// Markdown as models write it, built as DOM nodes: text from a model never becomes HTML.

const INLINE = /(`[^`\n]+`|\*\*[^*\n]+\*\*|\*[^*\s][^*\n]*\*)/;

function inline(parent, text) {
  for (const piece of text.split(INLINE)) {
    if (!piece) continue;
    if (piece.startsWith("`") && piece.endsWith("`") && piece.length > 2) add(parent, "code", piece.slice(1, -1));
    else if (piece.startsWith("**") && piece.length > 4) add(parent, "strong", piece.slice(2, -2));
    else if (piece.startsWith("*") && piece.endsWith("*") && piece.length > 2) add(parent, "em", piece.slice(1, -1));
    else parent.append(piece);
  }
}

function add(parent, tag, text) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function lines(parent, block) {
  block.forEach((line, index) => {
    if (index) parent.append(document.createElement("br"));
    inline(parent, line);
  });
}

const KINDS = [
  ["ul", /^\s*[-*+]\s+/],
  ["ol", /^\s*\d+[.)]\s+/],
  ["h4", /^#{1,6}\s+/],
];

const kindOf = (line) => KINDS.find(([, pattern]) => pattern.test(line)) ?? ["p", null];

/** Replace what stands in `target` by `text`; an open code fence (a stream in progress) is a code block already. */
export function render(target, text) {
  const root = document.createDocumentFragment();
  let block = [];
  let kind = null;
  const flush = () => {
    if (block.length && kind === "p") lines(add(root, "p"), block);
    else if (block.length && kind === "h4") for (const line of block) inline(add(root, "h4"), line);
    else if (block.length) {
      const list = add(root, kind);
      for (const line of block) inline(add(list, "li"), line);
    }
    block = [];
    kind = null;
  };
  let code = null;
  for (const line of text.split("\n")) {
    if (/^\s*```/.test(line)) {
      flush();
      code = code ? null : add(add(root, "pre"), "code", "");
    } else if (code) {
      code.textContent += (code.textContent ? "\n" : "") + line;
    } else if (!line.trim()) {
      flush();
    } else {
      const [found, pattern] = kindOf(line);
      if (found !== kind) flush();
      kind = found;
      block.push(pattern ? line.replace(pattern, "") : line);
    }
  }
  flush();
  target.replaceChildren(root);
}
