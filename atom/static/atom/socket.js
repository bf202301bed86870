// A websocket of ours that comes back by itself, after longer and longer waits.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;
// Not signed in, or not allowed: trying again would not help.
const FINAL_CODES = new Set([4401, 4403]);

export class Socket {
  /** `onFrame(frame)` gets each frame; `onState("online" | "connecting" | "offline" | "refused")`. */
  constructor(path, { onFrame, onState }) {
    this.url = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
    this.onFrame = onFrame;
    this.onState = onState;
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

  connect() {
    clearTimeout(this.timer);
    this.onState("connecting");
    this.socket = new WebSocket(this.url, ["atom.v1"]);
    this.socket.addEventListener("open", () => {
      this.failures = 0;
      this.opened();
      this.onState("online");
    });
    this.socket.addEventListener("message", (message) => this.receive(JSON.parse(message.data)));
    this.socket.addEventListener("close", (event) => this.closed(event.code));
  }

  /** What is to be sent first, each time. */
  opened() {}

  receive(frame) {
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
