"""What the drivers of Azure's published clients share. Imported before any of those, which read the environment.

A driver reads one JSON object from standard input, which says where the gateway is and what opens it, and plays the
scenario that its argument names: against the gateway, with the client as it was published. It prints each claim that
held, and fails with the first that did not.
"""

import base64
import json
import os
import sys
import time

told = json.load(sys.stdin)
os.environ["REQUESTS_CA_BUNDLE"] = told["ca"]
# Token times are naive local times in azureml-core. When that is imported it asks Azure for its clouds' addresses, and
# goes on with those that it knows where that fails; none of them is called.
os.environ["TZ"] = "UTC"
time.tzset()
for knob in ["AZUREML_DEFAULT_BACKOFF", "AZUREML_500_BACKOFF", "AZUREML_503_BACKOFF"]:
    os.environ[knob] = "0"
os.environ["AZUREML_DEV_URL_MFE"] = told["management"]

import requests

ROW = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]})
SPECIES = ["setosa"]


def claim(sentence, got, want=True):
    if got != want:
        sys.exit(f"does not hold: {sentence}\n  want {want!r}\n  got  {got!r}")
    print(f"holds: {sentence}")


def failure_of(kind, call, *arguments, **named):
    """The exception of this kind that a call ends with; None when it ends well."""
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    return None


def claim_refused(sentence, error, *parts):
    """Claims that a call failed, with each of these texts in what its exception says."""
    missing = [part for part in parts if part not in str(error)]
    claim(sentence, (error is not None and not missing) or f"{error} without {missing}")


def score(uri, credential):
    """The status that one plain request gets: no client between it and the gateway, which would try again."""
    return requests.post(uri, data=ROW, headers={"Authorization": f"Bearer {credential}"}).status_code


def manage(method, path, document):
    """A call of the management API that no client would make."""
    headers = {"Authorization": "Bearer " + told["management_key"]}
    return requests.request(method, told["management"] + path, json=document, headers=headers)


def revoke(token):
    """Revokes a token of the gateway's own."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    document = {"token": {"issuer": claims["iss"], "jti": claims["jti"]}, "why": "a test"}
    answered = manage("POST", "/api/v1/revocations", document)
    claim("a token is revoked", answered.status_code, 201)


def play(*scenarios):
    by_name = {scenario.__name__: scenario for scenario in scenarios}
    by_name[sys.argv[1]]()
