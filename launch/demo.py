"""Shows runs on a web page of this machine: choose a photo, see what is predicted.

    python -m launch.demo --workdir=runs/digits
    python -m launch.demo --workdir=runs/coins_found --workdir=runs/gan --port=8080
    python -m launch.demo --model=caformer_s18

Every run has a tab, which shows what it was trained for: see docs/demo.md. The page is for this
machine alone unless --host says otherwise, and loads nothing from anywhere else. Ctrl-C ends it.

Exit status: 0 ended, 2 a mistake in the arguments.
"""

import socket

from absl import flags
from werkzeug.serving import WSGIRequestHandler, make_server

from common.config import require
from common.demo.app import DemoApp
from common.demo.demos import Demo
from common.errors import UserError
from launch.main import compilation_cache, leave, run_main
from launch.options import JobFlags
from launch.tasks import job_of_flags

_MODEL = flags.DEFINE_string("model", None, "Model name, such as caformer_s18.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_WORKDIR = flags.DEFINE_multi_string(
    "workdir", [], "Run to show instead of these two; several get a tab each."
)
_PORT = flags.DEFINE_integer(
    "port", 7860, "Of the page; 0: any that is free.", lower_bound=0, upper_bound=65535
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0: for everyone.")
_MEGABYTES = flags.DEFINE_float("max_megabytes", 20, "Of a photo's file.", lower_bound=0)
_MEGAPIXELS = flags.DEFINE_float("max_megapixels", 25, "Of a photo.", lower_bound=0)
_DTYPE = flags.DEFINE_string("dtype", "float32", "Compute type, such as bfloat16.")
_OPTIONS = JobFlags("predict_options")

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Handler(WSGIRequestHandler):
    timeout = 60  # seconds without a byte


def main(argv: list[str]) -> None:
    """Serves what the flags say."""
    del argv
    compilation_cache()
    host, port = _HOST.value, _PORT.value
    with _listening(host, port) as listener:
        app = DemoApp(
            _demos(),
            most_bytes=round(_MEGABYTES.value * 1e6),
            most_pixels=round(_MEGAPIXELS.value * 1e6),
            hosts=_LOOPBACK if host in _LOOPBACK else None,
        )
        server = make_server(
            host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno()
        )
    shown = f"[{host}]" if ":" in host else host
    print(f"the page is at http://{shown}:{server.port} (Ctrl-C ends it)", flush=True)
    server.serve_forever()
    leave(0)  # Python's own end aborts threads that are answering, within compiled code


def _listening(host: str, port: int) -> socket.socket:
    """Before anything is loaded, so that a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        hint = "choose another --port, or 0 for any that is free"
        reason = str(getattr(error, "strerror", error)).partition(" (")[0]
        raise UserError(f"can't listen at --host={host} --port={port}: {reason}; {hint}") from error


def _demos() -> dict[str, Demo]:
    """By the title of their tab."""
    workdirs, demos = _WORKDIR.value or [None], {}
    for workdir in workdirs:
        require(workdirs.count(workdir) == 1, f"--workdir={workdir} is given twice")
    for workdir in workdirs:
        name, path, job = job_of_flags(workdir, _MODEL.value, _WEIGHTS.value)
        options = _OPTIONS.options(job)
        demos[workdir or name] = job.demo(name, path, options, dtype=_DTYPE.value)
    return demos


if __name__ == "__main__":
    run_main(main)
