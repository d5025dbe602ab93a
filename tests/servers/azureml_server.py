"""Starts azureml-inference-server-http with `score.py`, on a loopback port.

The server binds 0.0.0.0 and has no setting for that. This launcher changes the one constant and nothing else: the
gunicorn, the workers and the routes are those that Azure ML runs.
"""

import argparse
import os
import pathlib
import sys

import lifeline

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--port", type=int, default=0, help="0, the default, chooses a free one")
arguments.add_argument("--workers", type=int, default=1, help="processes; one handles one request at a time")
given = arguments.parse_args()

lifeline.hold()
port = given.port or lifeline.free_port()

from azureml_inference_server_http import constants  # noqa: E402

# Before `amlserver` is imported, which copies it.
constants.DEFAULT_HOST = lifeline.LOOPBACK

from azureml_inference_server_http import amlserver  # noqa: E402

# gunicorn would put a control socket into the home directory, one for all the servers of a user.
os.environ["GUNICORN_CMD_ARGS"] = "--no-control-socket"

score = pathlib.Path(__file__).with_name("score.py")
sys.argv = ["azmlinfsrv", f"--entry_script={score}", f"--port={port}", f"--worker_count={given.workers}"]
lifeline.announce_when_answering([f"http://{lifeline.LOOPBACK}:{port}/"], port=port)
amlserver.run()
