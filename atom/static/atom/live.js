// The page "Live": a card for each run that goes on, and buttons that step into it over the supervision socket.

import { render } from "./markdown.js";
import { Socket } from "./socket.js";

const page = document.querySelector("#live");
const runsBox = page.querySelector("#runs");
const endedBox = page.querySelector("#ended-runs");
const connection = page.querySelector("#connection");
const dialog = page.querySelector("#terminating");
const NOBODYS_ID = "00000000-0000-0000-0000-000000000000";
const ENDED_MOST = 12;
const PRESENT_EVERY_MS = 15000;

const STATUS = {
  queued: ["Queued", ""],
  running: ["Running", "info"],
  paused: ["Paused", "warning"],
  waiting_approval: ["Waiting for approval", "warning"],
  succeeded: ["Done", "success"],
  failed: ["Failed", "danger"],
  cancelled: ["Stopped", ""],
  interrupted: ["Interrupted", "warning"],
  terminated: ["Terminated", "danger"],
};
const CONNECTION = {
  online: "",
  connecting: "Connecting…",
  offline: "Connection lost. Trying again…",
  refused: "You are signed out, or may not supervise. Reload the page to sign in.",
};
const JUDGED = { allow: ["check_circle", "allowed"], watch: ["visibility", "allowed, watched"], deny: ["block", "denied"] };

// People ended it: that needs no explanation.
const STOPPED = new Set(["cancelled", "terminated"]);

const cards = new Map();

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** One run on the page. */
class Card {
  constructor(run) {
    this.id = run.id;
    this.startedAt = Date.parse(run.created_at);
    this.root = page.querySelector("#card").content.firstElementChild.cloneNode(true);
    this.root.dataset.run = run.id;
    this.log = this.root.querySelector(".atom-live-log");
    this.form = this.root.querySelector("form");
    this.root.querySelector("h2").textContent = run.agent_name;
    const maturity = this.part("maturity");
    maturity.textContent = run.maturity;
    maturity.classList.add(`is-${run.maturity}`);
    const question = this.part("question");
    question.append(element("b", "", run.user ?? "Somebody"), ` asked: ${run.question || "–"}`);
    question.title = run.question;
    this.part("link").href = page.dataset.run.replace(NOBODYS_ID, run.id);
    this.log.append(element("p", "atom-wait", "Nothing said yet."));
    this.status = run.status;
    this.setPaused(run.is_paused);
    this.tick();
  }

  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  button(name) {
    return this.root.querySelector(`[data-do="${name}"]`);
  }

  show() {
    const [label, kind] = STATUS[this.status] ?? [this.status, ""];
    const chip = this.part("status");
    chip.textContent = label;
    chip.className = `atom-badge${kind ? ` is-${kind}` : ""}`;
  }

  setPaused(isPaused) {
    this.isPaused = isPaused;
    if (isPaused && this.status === "running") this.status = "paused";
    if (!isPaused && this.status === "paused") this.status = "running";
    this.root.classList.toggle("is-paused", isPaused);
    this.part("pause").textContent = isPaused ? "Resume" : "Pause";
    this.button("pause").firstElementChild.textContent = isPaused ? "play_arrow" : "pause";
    this.button("pause").disabled = false;
    this.show();
  }

  tick() {
    if (!this.isOver) this.part("time").textContent = duration((Date.now() - this.startedAt) / 1000);
  }

  keepAtEnd(change) {
    const isAtEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    this.log.querySelector(".atom-wait")?.remove();
    change();
    if (isAtEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  addText(text) {
    if (this.status === "waiting_approval") this.status = "running";
    if (!this.said) {
      this.said = element("div", "atom-said");
      this.text = "";
      this.keepAtEnd(() => this.log.append(this.said));
    }
    this.text += text;
    // Tokens come faster than screens are drawn.
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    if (this.said) this.keepAtEnd(() => render(this.said, this.text));
  }

  step(sign, words, detail, kind = "") {
    this.draw();
    this.said = undefined;
    const line = element("div", `atom-live-step${kind ? ` is-${kind}` : ""}`);
    const icon = element("span", "material-symbols-outlined", sign);
    icon.setAttribute("aria-hidden", "true");
    const body = element("div");
    body.append(element("b", "", words));
    if (detail instanceof Node) body.append(" ", detail);
    else if (detail) body.append(` ${detail.length > 300 ? `${detail.slice(0, 300)}…` : detail}`);
    line.append(icon, body);
    this.keepAtEnd(() => this.log.append(line));
  }

  ask(frame) {
    this.status = "waiting_approval";
    const link = element("a", "", "Decide it");
    link.href = page.dataset.approval.replace(NOBODYS_ID, frame.approval_id);
    this.step("front_hand", `${frame.name} needs a person's approval.`, link, "ask");
    this.show();
  }

  end(frame) {
    this.draw();
    this.isOver = true;
    this.status = frame.status;
    this.root.classList.remove("is-paused");
    this.show();
    if (frame.error && !STOPPED.has(frame.status)) this.step("error", frame.error.message, "", "bad");
    this.form.hidden = true;
    this.root.querySelectorAll("footer button").forEach((button) => button.remove());
    endedBox.prepend(this.root);
    [...endedBox.children].slice(ENDED_MOST).forEach((old) => old.remove());
    cards.delete(this.id);
    showWhetherEmpty();
  }

  receive(frame) {
    switch (frame.type) {
      case "text_delta": return this.addText(frame.text);
      case "tool_judged": return frame.decision === "ask" ? undefined : this.step(JUDGED[frame.decision]?.[0] ?? "help", `${frame.name}: ${JUDGED[frame.decision]?.[1] ?? frame.decision}.`, frame.reason, frame.decision === "deny" ? "bad" : "");
      case "tool_call": return this.step("output", `${frame.name} goes to the client.`);
      case "tool_started": return this.step("play_circle", `${frame.name} runs.`);
      case "tool_ended": return this.step(frame.ok ? "task_alt" : "error", `${frame.name} ${frame.ok ? "is done" : "failed"}.`, frame.result);
      case "approval_needed": return this.ask(frame);
      case "paused": return this.setPaused(true);
      case "resumed": return this.setPaused(false);
      case "corrected": return this.corrected(frame);
      case "run_ended": return this.end(frame);
      default: return undefined;
    }
  }

  corrected(frame) {
    this.draw();
    // What broke off is no part of the answer any more.
    this.said?.classList.add("is-dropped");
    this.step("edit_note", `${frame.by || "An operator"}:`, frame.text, "correction");
    this.button("correct").disabled = false;
  }
}

function say(text, isBad = false) {
  connection.textContent = text;
  connection.className = isBad ? "is-bad" : "";
}

function showWhetherEmpty() {
  page.querySelector("#nothing").hidden = cards.size > 0;
  page.querySelector("#ended").hidden = !endedBox.children.length;
}

function add(run) {
  if (cards.has(run.id)) return;
  const card = new Card(run);
  cards.set(run.id, card);
  runsBox.prepend(card.root);
}

/** The list as it is now; each run's events follow from its first. What is being written is not lost. */
function list(runs) {
  const written = new Map();
  for (const card of cards.values()) if (!card.form.hidden) written.set(card.id, card.form.querySelector("textarea").value);
  cards.clear();
  runsBox.replaceChildren();
  for (const run of [...runs].reverse()) add(run);
  for (const [id, text] of written) if (cards.has(id)) correct(cards.get(id), text);
  showWhetherEmpty();
}

function onFrame(frame) {
  switch (frame.type) {
    case "runs": return list(frame.runs);
    case "run": add(frame); return showWhetherEmpty();
    case "error": say(frame.error.message, true); return cards.forEach((card) => card.root.querySelectorAll("button").forEach((button) => (button.disabled = false)));
    default: return cards.get(frame.run_id)?.receive(frame);
  }
}

function step(card, type, more = {}) {
  const isSent = socket.send({ type, run_id: card.id, ...more });
  say(isSent ? "" : "Not connected just now. Try again in a moment.", !isSent);
  return isSent;
}

function correct(card, text = "") {
  card.form.hidden = false;
  const field = card.form.querySelector("textarea");
  field.value = text;
  field.focus();
}

function putAway(card) {
  card.form.hidden = true;
  card.form.reset();
  card.button("correct").focus();
}

function terminate(card, button) {
  dialog.querySelector("form").reset();
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener(
    "close",
    () => {
      if (dialog.returnValue !== "yes" || card.isOver) return;
      button.disabled = step(card, "run.terminate", { reason: dialog.querySelector("input").value });
    },
    { once: true },
  );
}

runsBox.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  const card = cards.get(event.target.closest("[data-run]")?.dataset.run);
  if (!button || !card) return;
  switch (button.dataset.do) {
    case "pause": button.disabled = step(card, card.isPaused ? "run.resume" : "run.pause"); break;
    case "correct": card.form.hidden ? correct(card) : putAway(card); break;
    case "put-away": putAway(card); break;
    case "terminate": terminate(card, button); break;
  }
});
runsBox.addEventListener("submit", (event) => {
  event.preventDefault();
  const card = cards.get(event.target.closest("[data-run]").dataset.run);
  const text = event.target.querySelector("textarea").value.trim();
  if (text && step(card, "run.correct", { text })) putAway(card);
});
page.querySelectorAll("[data-maturity]").forEach((tab) =>
  tab.addEventListener("click", () => {
    page.querySelectorAll("[data-maturity]").forEach((other) => other.setAttribute("aria-pressed", String(other === tab)));
    socket.send({ type: "watch", maturity: tab.dataset.maturity });
  }),
);

async function showPresent() {
  try {
    const answer = await fetch(page.dataset.present);
    if (!answer.ok) return;
    const { present } = await answer.json();
    page.querySelector("#present").textContent = present.length ? `Present: ${present.join(", ")}` : "";
  } catch {
    // The connection's own line says that the server is away.
  }
}

class SupervisionSocket extends Socket {
  opened() {
    const tab = page.querySelector('[data-maturity][aria-pressed="true"]');
    if (tab.dataset.maturity) this.send({ type: "watch", maturity: tab.dataset.maturity });
    showPresent();
  }
}

const socket = new SupervisionSocket(page.dataset.socket, {
  onFrame,
  onState: (state) => say(CONNECTION[state], state === "offline" || state === "refused"),
});
setInterval(() => cards.forEach((card) => card.tick()), 1000);
setInterval(showPresent, PRESENT_EVERY_MS);
