"""Drives azure-ai-ml, the client of Azure ML's v2 API."""

import time

from azure_clients import ROW, SPECIES, claim, claim_refused, failure_of, play, score, told

import json
import tempfile

from azure.ai.ml import MLClient
from azure.ai.ml.exceptions import ValidationException
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError


class Static:
    """A credential that never changes."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, int(time.time()) + 3600)


def endpoints(token=told["management_key"]):
    _, _, subscription, _, group, _, _, _, workspace = told["workspace"].split("/")
    return MLClient(Static(token), subscription, group, workspace).online_endpoints


def invoke(client, name):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as request:
        request.write(ROW)
        request.flush()
        return json.loads(client.invoke(name, request_file=request.name))["predictions"]


def keys():
    client = endpoints()
    listed = {endpoint.name: endpoint.auth_mode for endpoint in client.list()}
    claim("list shows the endpoints", {"iris": "key", "iris-token": "aml_token"}.items() <= listed.items())
    endpoint = client.get("iris")
    claim("an endpoint is reached over TLS", endpoint.scoring_uri.startswith("https://"))
    claim("its mode is keys", endpoint.auth_mode, "key")
    claim("invoke with a key scores", invoke(client, "iris"), SPECIES)
    for slot in ["primary", "secondary"]:
        other = "secondary" if slot == "primary" else "primary"
        before = both(client)
        client.begin_regenerate_keys("iris", key_type=slot).result()
        claim(f"the old {slot} key is refused at once", score(endpoint.scoring_uri, before[slot]), 401)
        after = both(client)
        claim(f"the current {slot} key, sent as the value, is replaced all the same", after[slot] != before[slot])
        claim(f"the {other} key is the same", after[other], before[other])
        claim("both keys open the service", [score(endpoint.scoring_uri, key) for key in after.values()], [200, 200])
    claim("invoke scores after all that", invoke(client, "iris"), SPECIES)


def both(client):
    listed = client.get_keys("iris")
    return {"primary": listed.primary_key, "secondary": listed.secondary_key}


def tokens():
    client = endpoints()
    endpoint = client.get("iris-token")
    claim("its mode is tokens", endpoint.auth_mode, "aml_token")
    token = client.get_keys("iris-token")
    claim("get_keys of an endpoint with tokens returns one", token.access_token.count("."), 2)
    claim("it is a bearer token", token.token_type, "Bearer")
    now = time.time()
    claim("it is refreshed before it ends", now < token.refresh_after_time_utc < token.expiry_time_utc)
    claim("a token opens its service", score(endpoint.scoring_uri, token.access_token), 200)
    claim("and no other", score(client.get("iris").scoring_uri, token.access_token), 401)
    claim("invoke with a token scores", invoke(client, "iris-token"), SPECIES)


def refusals():
    client = endpoints()
    keyless = failure_of(ValidationException, client.begin_regenerate_keys, "iris-token")
    claim_refused("the client regenerates no keys where tokens are used", keyless, "does not use keys")
    absent = failure_of(ResourceNotFoundError, client.get, "nowhere")
    claim_refused("an endpoint that is not there is not found", absent, "there is no such service")
    stranger = failure_of(ClientAuthenticationError, endpoints("not-a-management-key").get_keys, "iris")
    claim_refused("a stranger gets no keys", stranger, "Unauthorized")


play(keys, tokens, refusals)
