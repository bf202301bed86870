"""`python -m atom.supervisor.local_model PORT`: the demonstration model behind an OpenAI-compatible loopback server.

The key comes in `LOCAL_API_KEY`, another model in `ATOM_LOCAL_MODEL` (a .gguf file). No Django: it starts in a second.
"""

import os
import signal
import sys
import threading

import xllamacpp

from atom.supervisor.model_file import model_file

CONTEXT_TOKENS = 16_384
SLOTS = 4
# So small a model does not always find an end by itself.
MOST_TOKENS = 512
NAME = "smollm2"


def main() -> None:
    # Decoding on every core of a busy machine collapses; one is left for the web.
    os.nice(5)
    params = xllamacpp.CommonParams()
    file = model_file()
    params.model.path = str(file)
    params.model_alias = {NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = int(sys.argv[1])
    params.api_keys = [os.environ["LOCAL_API_KEY"]]
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = SLOTS
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 2) - 1)
    params.n_predict = MOST_TOKENS
    params.sampling.temp = 0.2
    params.sampling.top_p = 0.9
    params.verbosity = -1
    params.ui = False
    server = xllamacpp.Server(params)
    print(f"serving {file.name} on {server.listening_address}", flush=True)  # noqa: T201  # for the log of `up`
    # The server runs in threads of its own, and has nothing to put away.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Event().wait()


if __name__ == "__main__":
    main()
