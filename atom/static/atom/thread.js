// Threads that are only read: answers as the playground shows them.

import { render } from "./markdown.js";

for (const bubble of document.querySelectorAll("[data-markdown]")) {
  const text = bubble.textContent;
  bubble.classList.add("is-rich");
  render(bubble, text);
}
