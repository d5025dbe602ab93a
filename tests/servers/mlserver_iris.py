"""Starts MLServer with a scikit-learn model named `iris`: REST, gRPC and metrics, each on a loopback port.

Both speak the Open Inference Protocol. The model is trained at each start, which takes milliseconds, saved, and
loaded by MLServer from the file: no trained model lies about that another scikit-learn could not read.
"""

import argparse
import asyncio
import json
import pathlib
import tempfile

import lifeline

arguments = argparse.ArgumentParser(description=__doc__)
for name in ("--port", "--grpc-port", "--metrics-port"):
    arguments.add_argument(name, type=int, default=0, help="0, the default, chooses a free one")
given = arguments.parse_args()

lifeline.hold()
ports = {name: port or lifeline.free_port() for name, port in vars(given).items()}

import joblib  # noqa: E402
from mlserver import MLServer  # noqa: E402
from mlserver.cli.serve import load_settings  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402


def write_repository(directory):
    """Writes what `mlserver start <directory>` reads."""
    settings = {
        "host": lifeline.LOOPBACK,
        "http_port": ports["port"],
        "grpc_port": ports["grpc_port"],
        "metrics_port": ports["metrics_port"],
        # Inference in this process: no second one to start and to stop.
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "model.joblib", "version": "v1"},
    }
    (directory / "settings.json").write_text(json.dumps(settings))
    (directory / "model-settings.json").write_text(json.dumps(model))
    irises = load_iris()
    joblib.dump(LogisticRegression(max_iter=1000).fit(irises.data, irises.target), directory / "model.joblib")


async def serve(directory):
    settings, models = await load_settings(str(directory))
    rest = f"http://{lifeline.LOOPBACK}:{ports['port']}/v2/models/iris/ready"
    metrics = f"http://{lifeline.LOOPBACK}:{ports['metrics_port']}/metrics"
    lifeline.announce_when_answering([rest, metrics], **ports)
    await MLServer(settings).start(models)


with tempfile.TemporaryDirectory() as repository:
    write_repository(pathlib.Path(repository))
    asyncio.run(serve(repository))
