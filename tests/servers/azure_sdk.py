"""Drives Azure's published clients, unmodified, against a demonstration, and prints what they saw as one JSON line.

The document that `scoregate demo --json` prints comes on standard input. Outcomes only are printed, never a key.
"""

import json
import os
import sys
import time

demo = json.load(sys.stdin)
# Token times are naive local times in this client. When it is imported it asks Azure for its clouds' addresses, and goes
# on with those that it knows where that fails; none of them is called.
os.environ["TZ"] = "UTC"
time.tzset()
for knob in ["AZUREML_DEFAULT_BACKOFF", "AZUREML_500_BACKOFF", "AZUREML_503_BACKOFF"]:
    os.environ[knob] = "0"

from azure.ai.vision.face import FaceClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azureml._restclient.service_context import ServiceContext
from azureml.core import Workspace
from azureml.core.authentication import TokenAuthentication
from azureml.core.webservice import AksWebservice
from azureml.exceptions import WebserviceException

ROW = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]})


def workspace():
    _, _, subscription, _, group, _, _, _, name = demo["workspace"].split("/")
    context = ServiceContext(
        subscription,
        group,
        name,
        "00000000-0000-0000-0000-000000000000",
        demo["management"] + "/discovery",
        TokenAuthentication(lambda audience: demo["management_token"]),
    )
    return Workspace._from_service_context(context, "local")


def failure_of(call, kind):
    try:
        call()
    except kind as error:
        return str(error)
    return None


def azure_ml():
    within = workspace()
    keys, tokens = AksWebservice(within, "iris"), AksWebservice(within, "iris-token")
    first = keys.get_keys()
    seen = {
        "get_keys": list(first) == [demo["key_service"]["primary"], demo["key_service"]["secondary"]],
        "list": sorted(service.name for service in AksWebservice.list(within)),
        "run_with_key": keys.run(ROW)["predictions"],
    }
    keys.regen_key("Primary")
    second = keys.get_keys()
    seen["regenerate_primary"] = [second[0] != first[0], second[1] == first[1]]
    keys.regen_key("Secondary")
    third = keys.get_keys()
    seen["regenerate_secondary"] = [third[0] == second[0], third[1] != second[1]]
    keys.regen_key("Primary", "chosen-key-0123456789")
    seen["choose_primary"] = keys.get_keys()[0] == "chosen-key-0123456789"
    seen["run_after_rotation"] = keys.run(ROW)["predictions"]
    token, refresh_by = tokens.get_token()
    seen["token_parts"] = token.count(".") + 1
    seen["refresh_is_ahead"] = refresh_by.timestamp() > time.time()
    seen["run_with_token"] = tokens.run(ROW)["predictions"]
    seen["keys_of_a_token_service"] = failure_of(tokens.get_keys, WebserviceException)
    seen["token_of_a_key_service"] = failure_of(keys.get_token, WebserviceException)
    both = lambda: keys.update(auth_enabled=True, token_auth_enabled=True)
    seen["both_modes"] = failure_of(both, WebserviceException)
    switch = lambda: keys.update(auth_enabled=False, token_auth_enabled=True)
    seen["switch_mode"] = failure_of(switch, WebserviceException)
    return seen


def face():
    key = AzureKeyCredential(demo["face"]["client_key"])
    lent = {"LimitedAccessToken": "Bearer " + demo["face"]["limited_access_token"]}

    def detect(client, gated, **more):
        return client.detect(
            b"an image",
            detection_model="detection_03",
            recognition_model="recognition_04",
            return_face_id=gated,
            **more,
        )

    plain = FaceClient(demo["face"]["endpoint"], key, retry_total=0)
    wide = FaceClient(demo["face"]["endpoint"], key, headers=lent, retry_total=0)
    wrong = FaceClient(demo["face"]["endpoint"], AzureKeyCredential("not-a-key"), retry_total=0)
    return {
        "free": len(detect(plain, False)),
        "gated": failure_of(lambda: detect(plain, True), HttpResponseError),
        "lent_per_call": len(detect(plain, True, headers=lent)),
        "lent_client_wide": len(detect(wide, True)),
        "wrong_key": failure_of(lambda: detect(wrong, False), HttpResponseError),
    }


outcome = {"azure_ml": azure_ml(), "face": face()}
# The clients print as they go, so that this has to be the last line.
print("\n" + json.dumps(outcome))
