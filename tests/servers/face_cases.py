"""What both Face clients are held to: cases that the test names, each a caller, perhaps with a LimitedAccessToken."""

import os

from azure_clients import claim, told

GROUP = f"doors-{os.getpid()}"
IMAGE = b"an image"
HEADER = "LimitedAccessToken"


def play(calls_of, failure, code_of):
    """Plays the cases. `calls_of` makes a client with headers of its own and returns its calls, by name; `code_of` reads
    the status and the code of a `failure`."""

    def outcome(call, headers):
        try:
            call(headers)
        except failure as error:
            return "{} {}".format(*code_of(error))
        return "200"

    for case in told["cases"]:
        token = case["token"]
        lent = {HEADER: "Bearer " + token} if token else {}
        ways = {"on each call": ({}, lent), "client-wide": (lent, {})} if token else {"no token": ({}, {})}
        for way, (client_wide, of_call) in ways.items():
            seen = {name: outcome(call, of_call) for name, call in calls_of(case["key"], client_wide).items()}
            claim(f"{case['claim']} ({way})", seen, case["want"])
