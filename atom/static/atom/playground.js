// The playground: one conversation at a time over the chat socket, and thumbs over REST.

import { ChatSocket } from "./chat-socket.js";
import { render } from "./markdown.js";

const page = document.querySelector("#playground");
const log = page.querySelector("#log");
const thread = page.querySelector("#thread");
const hello = page.querySelector("#hello");
const form = page.querySelector("#composer");
const field = form.querySelector("textarea");
const sendButton = page.querySelector("#send");
const stopButton = page.querySelector("#stop");
const connection = page.querySelector("#connection");

const STATUS = {
  sending: ["Sending", ""],
  running: ["Thinking", "info"],
  streaming: ["Answering", "info"],
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
  refused: "You are signed out. Reload the page to sign in.",
};
// What people read instead of a code; anything else shows the server's own sentence.
const FRIENDLY = {
  no_provider: "No model is available for this agent. Add a provider key, or switch the local model on.",
  session_busy: "This conversation is still working on the last answer.",
  budget_exceeded: "The budget for this agent is used up.",
};

let sessionId = page.dataset.session || null;
let current = null;
const answers = new Map();

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function icon(name) {
  const node = element("span", "material-symbols-outlined", name);
  node.setAttribute("aria-hidden", "true");
  return node;
}

const agentInput = () => page.querySelector("input[name=agent]:checked");

function keepAtEnd(change) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  change();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

/** One answer on the page, from the moment its question is sent. */
class Answer {
  constructor(agentName) {
    this.text = "";
    this.sentAt = performance.now();
    this.root = element("article", "atom-turn is-assistant");
    const name = element("div", "atom-turn-name");
    name.append(element("b", "", agentName));
    this.chip = element("span", "atom-badge");
    name.append(this.chip);
    // Words, tools and questions, in the order in which they came.
    this.body = element("div", "atom-stack");
    this.meta = element("div", "atom-meta");
    this.root.append(name, this.body, this.meta);
    this.startBubble();
    this.setStatus("sending");
  }

  setStatus(status) {
    const [label, kind] = STATUS[status] ?? [status, ""];
    this.status = status;
    this.chip.textContent = label;
    this.chip.className = `atom-badge${kind ? ` is-${kind}` : ""}`;
  }

  startBubble() {
    this.settle();
    this.text = "";
    this.bubble = element("div", "atom-bubble is-rich atom-cursor");
    this.body.append(this.bubble);
  }

  /** Draw what is not drawn yet, and end the bubble; one without words goes away. */
  settle() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    if (!this.bubble) return;
    this.bubble.classList.remove("atom-cursor");
    if (this.text) render(this.bubble, this.text);
    else this.bubble.remove();
  }

  addStep(node) {
    this.settle();
    this.body.append(node);
  }

  addText(text) {
    if (this.firstTokenS === undefined && !this.isReplay) this.firstTokenS = (performance.now() - this.sentAt) / 1000;
    if (this.status !== "streaming") this.setStatus("streaming");
    if (this.body.lastElementChild !== this.bubble) this.startBubble();
    this.text += text;
    this.draw();
  }

  draw() {
    // Tokens come faster than screens are drawn.
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      keepAtEnd(() => render(this.bubble, this.text));
    });
  }

  addThinking(text) {
    if (!this.thinking || this.body.lastElementChild !== this.thinking.parentElement) {
      const details = element("details", "atom-thinking");
      this.thinking = element("div");
      details.append(element("summary", "", "Thinking"), this.thinking);
      this.addStep(details);
    }
    this.thinking.append(text);
  }

  tool(frame, sign, words) {
    const id = `call-${frame.run_id}-${frame.call_id}`;
    let card = document.getElementById(id);
    if (!card) {
      card = element("div", "atom-call");
      card.id = id;
      this.addStep(card);
    }
    const title = element("h3");
    title.append(icon(sign), `${frame.name}: ${words}`);
    card.replaceChildren(title);
    const detail = frame.result || frame.reason;
    if (detail) card.append(element("p", "atom-faint", detail.length > 400 ? `${detail.slice(0, 400)}…` : detail));
  }

  askApproval(frame) {
    this.setStatus("waiting_approval");
    const note = element("div", "atom-note is-ask");
    const body = element("div");
    body.append(element("b", "", `${frame.name} needs a person's approval`), element("p", "", frame.reason));
    if (page.dataset.approval) {
      const link = element("a", "", "Open it in the inbox");
      link.href = page.dataset.approval.replace("00000000-0000-0000-0000-000000000000", frame.approval_id);
      body.append(link);
    }
    note.append(icon("front_hand"), body);
    this.addStep(note);
  }

  corrected(frame) {
    const note = element("div", "atom-note is-correction");
    const body = element("div");
    body.append(element("b", "", `${frame.by || "An operator"} corrected this answer`), element("p", "", frame.text));
    note.append(icon("edit_note"), body);
    this.addStep(note);
    this.setStatus("running");
  }

  fail(error) {
    this.settle();
    const note = element("div", "atom-note is-bad");
    note.setAttribute("role", "alert");
    note.append(icon("error"), element("span", "", FRIENDLY[error.code] ?? error.message));
    this.body.append(note);
  }

  end({ status, error, message_id: messageId, usage, cost_usd: cost, provider, model }) {
    this.setStatus(status);
    this.settle();
    if (error && status !== "cancelled") this.fail(error);
    const facts = [];
    if (this.firstTokenS !== undefined) facts.push(`first token ${this.firstTokenS.toFixed(2)} s`);
    if (usage?.output_tokens) facts.push(`${usage.input_tokens} → ${usage.output_tokens} tokens`);
    if (Number(cost) > 0) facts.push(`$${Number(cost).toPrecision(2)}`);
    if (model) facts.push(provider === "local" ? `${model} (demo model)` : `${provider}/${model}`);
    this.meta.replaceChildren(...facts.map((fact) => element("span", "", fact)));
    if (this.runId) {
      const link = element("a", "", "Run");
      link.href = page.dataset.run.replace("00000000-0000-0000-0000-000000000000", this.runId);
      this.meta.append(link);
    }
    if (messageId) this.meta.append(thumbs(messageId));
  }
}

function thumbs(messageId) {
  const group = element("span", "atom-thumbs");
  group.dataset.message = messageId;
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Rate this answer");
  for (const [thumb, sign, label] of [["up", "thumb_up", "Good answer"], ["down", "thumb_down", "Bad answer"]]) {
    const button = element("button", "atom-thumb");
    button.type = "button";
    button.dataset.thumb = thumb;
    button.title = label;
    button.setAttribute("aria-label", label);
    button.setAttribute("aria-pressed", "false");
    button.append(icon(sign));
    group.append(button);
  }
  return group;
}

function press(group, thumb, feedbackId) {
  group.dataset.feedback = feedbackId;
  for (const button of group.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.thumb === thumb));
  }
}

function tell(method, path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRFToken": page.dataset.csrf };
  return fetch(page.dataset.feedback + path, { method, headers, body: body && JSON.stringify(body) });
}

// Pressing another thumb changes one's mind, pressing the same one again takes it back.
async function rate(button) {
  const group = button.closest(".atom-thumbs");
  const buttons = [...group.querySelectorAll("button")];
  const isTakenBack = button.getAttribute("aria-pressed") === "true";
  buttons.forEach((other) => (other.disabled = true));
  let isKept = false;
  try {
    const answer = isTakenBack
      ? await tell("DELETE", `${group.dataset.feedback}/`)
      : await tell("POST", "", { message_id: group.dataset.message, thumb: button.dataset.thumb });
    isKept = answer.ok;
    if (isKept && isTakenBack) press(group, "", "");
    else if (isKept) press(group, button.dataset.thumb, (await answer.json()).id);
  } catch {
    // No answer at all: said below, like a refusal.
  }
  buttons.forEach((other) => (other.disabled = false));
  if (isKept) group.title = isTakenBack ? "" : "Thank you";
  else say("This could not be saved. Try again.", true);
}

// The thumbs of an earlier visit stay pressed.
async function showOwnThumbs() {
  if (!page.dataset.session) return;
  let path = `?session=${page.dataset.session}&mine=true&page_size=200`;
  while (path) {
    const answer = await fetch(page.dataset.feedback + path);
    if (!answer.ok) return;
    const { results, next } = await answer.json();
    for (const given of results) {
      const group = thread.querySelector(`.atom-thumbs[data-message="${given.message_id}"]`);
      if (group && given.thumb) press(group, given.thumb, given.id);
    }
    path = next && new URL(next, location.href).search;
  }
}

function say(text, isBad = false) {
  connection.textContent = text;
  connection.className = isBad ? "is-bad" : "";
}

function setCurrent(answer) {
  current = answer;
  stopButton.hidden = !answer;
  sendButton.hidden = Boolean(answer);
  stopButton.disabled = !answer?.runId;
  log.setAttribute("aria-busy", String(Boolean(answer)));
}

function ask(content) {
  const agent = agentInput();
  if (!agent || current) return;
  const frame = { type: "message.create", agent: agent.value, content };
  if (sessionId) frame.session_id = sessionId;
  if (!socket.send(frame)) return say("Not connected yet. Your message is still here; try again in a moment.", true);
  say("");
  hello.hidden = true;
  const question = element("article", "atom-turn is-user");
  question.append(element("div", "atom-bubble", content));
  const answer = new Answer(agent.dataset.name);
  thread.append(question, answer.root);
  setCurrent(answer);
  field.value = "";
  grow();
  log.scrollTop = log.scrollHeight;
}

function accepted({ run_id: runId, session_id: id }) {
  if (!current) return;
  current.runId = runId;
  current.setStatus("running");
  answers.set(runId, current);
  stopButton.disabled = false;
  sessionId = id;
  history.replaceState(null, "", `?session=${id}`);
}

function finish(answer, result) {
  answer.end(result);
  if (answer === current) {
    setCurrent(null);
    field.focus();
  }
  answers.delete(answer.runId);
}

function resync(answer, frame) {
  answer.body.replaceChildren();
  answer.startBubble();
  answer.text = frame.text;
  // A run that still waits for people is open, though its events are gone.
  if (frame.status in STATUS && !["running", "queued", "paused", "waiting_approval"].includes(frame.status)) {
    finish(answer, frame);
  } else {
    answer.draw();
    answer.setStatus(frame.status);
  }
}

function failed(error) {
  if (current && !current.runId) {
    current.setStatus("failed");
    current.fail(error);
    setCurrent(null);
  } else if (!current) {
    say(error.message, true);
  }
}

function onFrame(frame) {
  if (frame.type === "message.accepted") return accepted(frame);
  if (frame.type === "error") return failed(frame.error);
  const answer = answers.get(frame.run_id);
  if (!answer) return undefined;
  switch (frame.type) {
    case "text_delta": return answer.addText(frame.text);
    case "run_ended": return keepAtEnd(() => finish(answer, frame));
    case "resync": return keepAtEnd(() => resync(answer, frame));
    default: return keepAtEnd(() => onStep(answer, frame));
  }
}

const JUDGED = {
  allow: ["check_circle", "allowed"],
  watch: ["visibility", "allowed, watched"],
  deny: ["block", "denied"],
};

function onStep(answer, frame) {
  switch (frame.type) {
    case "thinking_delta": return answer.addThinking(frame.text);
    // What asks a person comes again as approval_needed, with a link.
    case "tool_judged": return frame.decision === "ask" ? undefined : answer.tool(frame, ...(JUDGED[frame.decision] ?? ["help", frame.decision]));
    case "tool_started": return answer.tool(frame, "play_circle", "running");
    case "tool_ended": return answer.tool(frame, frame.ok ? "task_alt" : "error", frame.ok ? "done" : "failed");
    case "approval_needed": return answer.askApproval(frame);
    case "paused": return answer.setStatus("paused");
    case "resumed": return answer.setStatus("running");
    case "corrected": return answer.corrected(frame);
    default: return undefined;
  }
}

function onState(state) {
  say(CONNECTION[state], state === "offline" || state === "refused");
  // The server may never have seen a message whose receipt did not come.
  if (state === "offline" && current && !current.runId) {
    failed({ message: "The connection broke before the message arrived. Please send it again." });
  }
}

function showAgent() {
  const agent = agentInput();
  if (!agent) return;
  page.querySelector("#agent-name").textContent = agent.dataset.name;
  const badge = page.querySelector("#agent-maturity");
  badge.textContent = agent.dataset.maturity;
  badge.className = `atom-badge is-${agent.dataset.maturity}`;
  page.querySelector("#demo-model").hidden = agent.dataset.demo !== "yes";
}

function startOver() {
  sessionId = null;
  setCurrent(null);
  answers.clear();
  thread.replaceChildren();
  hello.hidden = false;
  showAgent();
  page.querySelector("[aria-current]")?.removeAttribute("aria-current");
  history.replaceState(null, "", agentInput() ? `?agent=${agentInput().value}` : location.pathname);
  field.focus();
}

function grow() {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (field.value.trim()) ask(field.value.trim());
});
field.addEventListener("input", grow);
field.addEventListener("keydown", (event) => {
  // Enter also ends the composition of a character in some scripts.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
stopButton.addEventListener("click", () => {
  stopButton.disabled = true;
  socket.send({ type: "run.cancel", run_id: current.runId });
});
page.querySelector("#new-chat").addEventListener("click", startOver);
page.querySelectorAll("input[name=agent]").forEach((input) => input.addEventListener("change", startOver));
page.querySelectorAll("[data-opener]").forEach((button) => button.addEventListener("click", () => ask(button.dataset.opener)));
thread.addEventListener("click", (event) => {
  const button = event.target.closest(".atom-thumb");
  if (button && !button.disabled) rate(button);
});

const socket = new ChatSocket(page.dataset.socket, { onFrame, onState });
showAgent();
thread.querySelectorAll("[data-markdown]").forEach((bubble) => {
  const text = bubble.textContent;
  bubble.classList.add("is-rich");
  render(bubble, text);
});
if (page.dataset.openRun) {
  const answer = new Answer(agentInput()?.dataset.name ?? "Agent");
  answer.runId = page.dataset.openRun;
  answer.isReplay = true;
  answer.setStatus("running");
  answers.set(answer.runId, answer);
  thread.append(answer.root);
  setCurrent(answer);
  socket.follow(answer.runId);
}
showOwnThumbs();
log.scrollTop = log.scrollHeight;
field.focus();
