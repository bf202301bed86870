// The policy pages: line numbers beside the text, the places of problems in it, and a replay that is under way.

const escaped = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

function edit(editor) {
  const area = editor.querySelector("textarea");
  const gutter = editor.querySelector(".policy-gutter");
  const marks = editor.querySelector(".policy-marks");
  // Problems are about the text as it was sent; the first key stroke makes their places old.
  let problems = JSON.parse(editor.dataset.problems || "[]");

  const follow = () => {
    gutter.scrollTop = area.scrollTop;
    marks.scrollTop = area.scrollTop;
    marks.scrollLeft = area.scrollLeft;
  };

  const draw = () => {
    const lines = area.value.split("\n");
    const bad = new Set(problems.map((problem) => problem.line));
    gutter.innerHTML = lines.map((_, at) => (bad.has(at + 1) ? `<b>${at + 1}</b>` : at + 1)).join("\n");
    marks.innerHTML = lines.map((line, at) => marked(line, problems.filter((problem) => problem.line === at + 1))).join("\n");
    gutter.style.height = marks.style.height = `${area.clientHeight}px`;
    follow();
  };

  const marked = (line, here) => {
    if (!here.length) return escaped(line);
    const start = Math.min(...here.map((problem) => problem.column)) - 1;
    const word = /^\s*(\S+)?/.exec(line.slice(start));
    const end = start + Math.max(word[0].length, 1);
    return `${escaped(line.slice(0, start))}<span>${escaped(line.slice(start, end)) || " "}</span>${escaped(line.slice(end))}`;
  };

  const go = (line, column) => {
    const before = area.value.split("\n").slice(0, line - 1);
    const at = before.reduce((sum, text) => sum + text.length + 1, 0) + column - 1;
    area.focus();
    area.setSelectionRange(at, at);
    area.scrollTop = Math.max(0, (line - 6) * 20);
    follow();
  };

  area.addEventListener("input", () => {
    problems = [];
    draw();
  });
  area.addEventListener("scroll", follow);
  area.addEventListener("keydown", (event) => {
    // Escape first lets Tab leave the field, as keyboards expect.
    if (event.key === "Escape") area.dataset.leave = "yes";
    else if (event.key === "Tab" && !event.shiftKey && !area.dataset.leave) {
      event.preventDefault();
      area.setRangeText("  ", area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input", { bubbles: true }));
    } else delete area.dataset.leave;
  });
  editor.querySelectorAll(".policy-problems button").forEach((button) =>
    button.addEventListener("click", () => go(Number(button.dataset.line), Number(button.dataset.column))),
  );
  new ResizeObserver(draw).observe(area);
  draw();
  if (problems.length) go(problems[0].line, problems[0].column);
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-policy-editor]").forEach(edit);
  // A replay that is under way: look again how far it is.
  const running = document.querySelector("[data-reload-after-ms]");
  if (running) setTimeout(() => location.reload(), Number(running.dataset.reloadAfterMs));
});
