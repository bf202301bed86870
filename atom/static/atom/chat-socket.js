// The chat socket: reconnects with back-off, and goes on with every open run after the last event it saw.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;
// Not signed in, or not allowed: trying again would not help.
const FINAL_CODES = new Set([4401, 4403]);

export class ChatSocket {
  /** `onFrame(frame)` gets each frame once; `onState("online" | "connecting" | "offline" | "refused")`. */
  constructor(path, { onFrame, onState }) {
    this.url = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
    this.onFrame = onFrame;
    this.onState = onState;
    this.lastSeq = new Map();
    this.failures = 0;
    this.connect();
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** False when the socket is not open: nothing was sent. */
  send(frame) {
    if (!this.isOpen) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  /** Follow a run from its next event after `after`, also across reconnects. */
  follow(runId, after = 0) {
    this.lastSeq.set(runId, after);
  }

  resume(runId, after = 0) {
    this.follow(runId, after);
    this.send({ type: "run.resume", run_id: runId, after });
  }

  connect() {
    clearTimeout(this.timer);
    this.onState("connecting");
    this.socket = new WebSocket(this.url, ["atom.v1"]);
    this.socket.addEventListener("open", () => {
      this.failures = 0;
      for (const [runId, after] of this.lastSeq) this.send({ type: "run.resume", run_id: runId, after });
      this.onState("online");
    });
    this.socket.addEventListener("message", (message) => this.receive(JSON.parse(message.data)));
    this.socket.addEventListener("close", (event) => this.closed(event.code));
  }

  receive(frame) {
    if (frame.type === "message.accepted") this.follow(frame.run_id);
    if (frame.seq !== undefined) {
      // A replay may overlap with what was seen already.
      if (frame.seq <= (this.lastSeq.get(frame.run_id) ?? 0)) return;
      this.lastSeq.set(frame.run_id, frame.seq);
    }
    if (frame.type === "run_ended" || frame.type === "resync") this.lastSeq.delete(frame.run_id);
    this.onFrame(frame);
  }

  closed(code) {
    if (FINAL_CODES.has(code)) return this.onState("refused");
    this.onState("offline");
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures++);
    // Spread out, so that a restarted server is not met by everybody at once.
    this.timer = setTimeout(() => this.connect(), wait * (0.7 + 0.6 * Math.random()));
  }

  retryNow() {
    if (this.socket.readyState === WebSocket.CLOSED) this.connect();
  }
}
