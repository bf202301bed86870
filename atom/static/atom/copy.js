// Buttons with data-copy="<id>" copy that element's text.

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const label = button.querySelector("span:last-child");
    try {
      await navigator.clipboard.writeText(source.textContent);
      label.textContent = "Copied";
    } catch {
      // Without TLS there is no clipboard: select it, so that one key copies it.
      getSelection().selectAllChildren(source);
      label.textContent = "Press Ctrl+C";
    }
  });
}
