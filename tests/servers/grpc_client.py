"""Makes one gRPC call of the Open Inference Protocol and prints what came back as one JSON line.

`code` is the name of the gRPC status, `OK` included; a status other than OK is a result, not a failure of this
program. Nothing that is sent is checked before.
"""

import argparse
import json

import grpc
from mlserver.grpc import dataplane_pb2 as messages
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("call", choices=["server-live", "model-infer"])
arguments.add_argument("--address", required=True, help="host:port")
arguments.add_argument("--authority", help="what :authority says; the address unless given")
arguments.add_argument("--ca", help="a PEM file of CAs; with it the call goes over TLS")
arguments.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE")
arguments.add_argument("--rows", default="[[5.1, 3.5, 1.4, 0.2]]", help="JSON rows to score")
arguments.add_argument("--timeout", type=float, default=20.0, help="seconds")
given = arguments.parse_args()


def open_channel():
    # grpcio reads http_proxy, also for loopback.
    options = [("grpc.enable_http_proxy", 0)]
    if given.authority:
        options.append(("grpc.default_authority", given.authority))
    if not given.ca:
        return grpc.insecure_channel(given.address, options)
    with open(given.ca, "rb") as authorities:
        return grpc.secure_channel(given.address, grpc.ssl_channel_credentials(authorities.read()), options)


def infer_request():
    rows = json.loads(given.rows)
    values = [value for row in rows for value in row]
    tensor = messages.ModelInferRequest.InferInputTensor(
        name="predict",
        datatype="FP64",
        shape=[len(rows), len(rows[0])],
        contents=messages.InferTensorContents(fp64_contents=values),
    )
    return messages.ModelInferRequest(model_name="iris", inputs=[tensor])


def as_text(metadata):
    return {name: value if isinstance(value, str) else value.hex() for name, value in metadata or ()}


with open_channel() as channel:
    stub = GRPCInferenceServiceStub(channel)
    method, request = {
        "server-live": lambda: (stub.ServerLive, messages.ServerLiveRequest()),
        "model-infer": lambda: (stub.ModelInfer, infer_request()),
    }[given.call]()
    metadata = [tuple(pair.split("=", 1)) for pair in given.metadata]
    result = {}
    try:
        answer, call = method.with_call(request, timeout=given.timeout, metadata=metadata)
        if given.call == "server-live":
            result["live"] = answer.live
        else:
            result["model_name"] = answer.model_name
            result["predictions"] = list(answer.outputs[0].contents.int64_contents)
    except grpc.RpcError as error:
        call = error
    result["code"] = call.code().name
    result["details"] = call.details()
    result["initial_metadata"] = as_text(call.initial_metadata())
    result["trailing_metadata"] = as_text(call.trailing_metadata())
    print(json.dumps(result))
