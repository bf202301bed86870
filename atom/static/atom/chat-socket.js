// The chat socket: goes on with every open run after the last event it saw.

import { Socket } from "./socket.js";

export class ChatSocket extends Socket {
  /** As `Socket`; each event of a run comes once. */
  constructor(path, handlers) {
    super(path, handlers);
    this.lastSeq = new Map();
  }

  /** Follow a run from its next event after `after`, also across reconnects. */
  follow(runId, after = 0) {
    this.lastSeq.set(runId, after);
  }

  resume(runId, after = 0) {
    this.follow(runId, after);
    this.send({ type: "run.resume", run_id: runId, after });
  }

  opened() {
    for (const [runId, after] of this.lastSeq) this.send({ type: "run.resume", run_id: runId, after });
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
}
