"""Drives azureml-core, the client of Azure ML's v1 API."""

import time

from azure_clients import ROW, SPECIES, claim, claim_refused, failure_of, manage, play, revoke, score, told

from azureml._restclient.service_context import ServiceContext
from azureml.core import Workspace
from azureml.core.authentication import TokenAuthentication
from azureml.core.webservice import AciWebservice, AksWebservice
from azureml.exceptions import WebserviceException

# The client sleeps 5 s before it asks how a regeneration went. Without, what follows it is seen to be in force at once.
time.sleep = lambda seconds: None

SERVICES = "/modelmanagement/v1.0" + told["workspace"] + "/services"
SLOTS = ["Primary", "Secondary"]

BOTH = "Error, cannot set both token_auth_enabled and auth_enabled."


def workspace():
    _, _, subscription, _, group, _, _, _, name = told["workspace"].split("/")
    context = ServiceContext(
        subscription,
        group,
        name,
        "00000000-0000-0000-0000-000000000000",
        told["management"] + "/discovery",
        TokenAuthentication(lambda audience: told["management_key"]),
    )
    return Workspace._from_service_context(context, "local")


def keys():
    within = workspace()
    listed = {service.name: service for service in AksWebservice.list(within, compute_type="AKS")}
    claim("list shows every service of the platform", sorted(listed), ["face", "iris", "iris-managed", "iris-token"])
    service = AksWebservice(within, "iris")
    claim("the service is called with keys", modes_of(service), (True, False))
    claim("it is reached over TLS", service.scoring_uri.startswith("https://"))
    claim("run with a key scores", service.run(ROW)["predictions"], SPECIES)
    for slot, name in enumerate(SLOTS):
        other = 1 - slot
        before = service.get_keys()
        claim(f"both keys open the service before {name} is regenerated", statuses(service, before), [200, 200])
        service.regen_key(name)
        claim(f"the old {name} is refused at once", score(service.scoring_uri, before[slot]), 401)
        claim(f"{SLOTS[other]} keeps working", score(service.scoring_uri, before[other]), 200)
        after = service.get_keys()
        claim(f"{name} is another key", after[slot] != before[slot])
        claim(f"{SLOTS[other]} is the same key", after[other], before[other])
        claim(f"both keys open the service after {name} was regenerated", statuses(service, after), [200, 200])
    service.regen_key("Primary", "chosen-key-0123456789")
    claim("a key can be chosen", service.get_keys()[0], "chosen-key-0123456789")
    taken = failure_of(WebserviceException, service.regen_key, "Secondary", "chosen-key-0123456789")
    claim_refused("no key opens both slots", taken, "Response Code: 409")
    claim("run scores after all that", service.run(ROW)["predictions"], SPECIES)


def statuses(service, credentials):
    return [score(service.scoring_uri, credential) for credential in credentials]


def tokens():
    service = AksWebservice(workspace(), "iris-token")
    claim("the service is called with tokens", modes_of(service), (False, True))
    token, refresh_by = service.get_token()
    claim("a token is a JWT", token.count("."), 2)
    claim("it is to be refreshed later than now", refresh_by.timestamp() > time.time())
    claim("a token opens its service", score(service.scoring_uri, token), 200)
    claim("one whose signature is cut does not", score(service.scoring_uri, token[:-8]), 401)
    claim("no token opens a service with keys", score(AksWebservice(workspace(), "iris").scoring_uri, token), 401)
    claim("run with a token scores", service.run(ROW)["predictions"], SPECIES)


def stale_key():
    service = AksWebservice(workspace(), "iris")
    list_keys, listed = service.get_keys, []

    def and_replaced_before_they_are_used():
        listed.append(list_keys())
        if len(listed) == 1:
            service.regen_key("Primary")
        return listed[-1]

    service.get_keys = and_replaced_before_they_are_used
    claim("run scores with a key that is replaced on its way", service.run(ROW)["predictions"], SPECIES)
    claim("it listed the keys again", len(listed) > 1)
    claim("the key that it came with first is refused", score(service.scoring_uri, listed[0][0]), 401)


def stale_token():
    service = AksWebservice(workspace(), "iris-token")
    get_token, issued = service.get_token, []

    def and_revoked_before_it_is_used():
        issued.append(get_token())
        if len(issued) == 1:
            revoke(issued[0][0])
        return issued[-1]

    service.get_token = and_revoked_before_it_is_used
    claim("run scores with a token that is revoked on its way", service.run(ROW)["predictions"], SPECIES)
    claim("it got another one", len(issued) > 1)
    claim("the token that it came with first is refused", score(service.scoring_uri, issued[0][0]), 401)


def switch():
    service = AksWebservice(workspace(), "iris-managed")
    primary, secondary = service.get_keys()
    claim("a service that the API may switch begins with keys", service.run(ROW)["predictions"], SPECIES)
    service.update(auth_enabled=False, token_auth_enabled=True)
    claim("update switches it to tokens", modes_of(service), (False, True))
    claim("its keys are refused at once", statuses(service, [primary, secondary]), [401, 401])
    claim_refused("they are listed no longer", failure_of(WebserviceException, service.get_keys), "AuthModeMismatch")
    token, _ = service.get_token()
    claim("a token opens it", score(service.scoring_uri, token), 200)
    claim("run scores with a token", service.run(ROW)["predictions"], SPECIES)
    service.update(auth_enabled=True, token_auth_enabled=False)
    claim("update switches it back to keys", modes_of(service), (True, False))
    claim("its token is refused at once", score(service.scoring_uri, token), 401)
    claim_refused("no other is issued", failure_of(WebserviceException, service.get_token), "AuthModeMismatch")
    claim("the keys are those that it had", service.get_keys(), (primary, secondary))
    claim("both open it", statuses(service, [primary, secondary]), [200, 200])
    claim("run scores with a key", service.run(ROW)["predictions"], SPECIES)
    service._validate_update = lambda *unchecked: None
    both = failure_of(WebserviceException, service.update, auth_enabled=True, token_auth_enabled=True)
    claim_refused("both at once are refused here too", both, "Response Code: 400", BOTH)
    claim("and nothing has changed", modes_of(AksWebservice(workspace(), "iris-managed")), (True, False))


def modes_of(service):
    return service.auth_enabled, service.token_auth_enabled


def modes():
    keyed, tokened = AksWebservice(workspace(), "iris"), AksWebservice(workspace(), "iris-token")
    beside = "Error, cannot set token_auth_enabled without disabling key auth (set auth_enabled to False)."
    at_deploy = "Invalid configuration, auth_enabled and token_auth_enabled cannot both be true."

    def update(service, **modes):
        return failure_of(WebserviceException, service.update, **modes)

    def deploy_configuration():
        AksWebservice.deploy_configuration(auth_enabled=True, token_auth_enabled=True)

    claim_refused("the client deploys nothing with both", failure_of(WebserviceException, deploy_configuration), at_deploy)
    claim_refused("the client sets both nowhere", update(keyed, auth_enabled=True, token_auth_enabled=True), BOTH)
    claim_refused("the client adds no tokens to keys", update(keyed, token_auth_enabled=True), beside)
    for service in [keyed, tokened]:
        service._validate_update = lambda *unchecked: None
    refused = ["Response Code: 400", "BadArgument"]
    claim_refused(
        "without its check the gateway refuses both, in the client's words",
        update(keyed, auth_enabled=True, token_auth_enabled=True),
        *refused,
        BOTH,
    )
    claim_refused("and tokens beside keys", update(keyed, token_auth_enabled=True), *refused, beside)
    claim_refused("and keys beside tokens", update(tokened, auth_enabled=True), *refused, "set token_auth_enabled to False")
    deployed = manage("POST", SERVICES, {"name": "new", "authEnabled": True, "aadAuthEnabled": True})
    claim("and a deployment with both", (deployed.status_code, deployed.json()["message"]), (400, at_deploy))
    container = AciWebservice(workspace(), "iris-container")
    claim_refused(
        "the client has no tokens on ACI",
        failure_of(NotImplementedError, container.get_token),
        "ACI webservices do not support Token Authentication.",
    )
    patch = [{"op": "replace", "path": "/aadAuthEnabled", "value": True}]
    refused = manage("PATCH", SERVICES + "/iris-container", patch)
    claim("nor has the gateway", (refused.status_code, refused.json()["code"]), (400, "BadArgument"))
    mismatch = failure_of(WebserviceException, tokened.get_keys)
    claim_refused("a service with tokens lists no keys", mismatch, "Response Code: 400", "AuthModeMismatch")
    mismatch = failure_of(WebserviceException, tokened.regen_key, "Primary")
    claim_refused("and regenerates none", mismatch, "Response Code: 400", "AuthModeMismatch")
    mismatch = failure_of(WebserviceException, keyed.get_token)
    claim_refused("a service with keys issues no token", mismatch, "missing accessToken", "AuthModeMismatch")
    switched = update(keyed, auth_enabled=False, token_auth_enabled=True)
    claim_refused("what gateway.yaml owns is not switched", switched, "Response Code: 409", "gateway.yaml owns")


play(keys, tokens, stale_key, stale_token, modes, switch)
