"""Drives azure-cognitiveservices-vision-face, the older client of Face."""

import io

from azure_clients import claim, told
from face_cases import GROUP, IMAGE, play

from azure.cognitiveservices.vision.face import FaceClient
from azure.cognitiveservices.vision.face.models import APIErrorException
from msrest.authentication import ApiKeyCredentials, CognitiveServicesCredentials


def with_headers(key, client_wide):
    """A client whose every call has these headers: the credential is where it takes them."""
    headers = CognitiveServicesCredentials(key).in_headers | client_wide
    return FaceClient(told["traffic"], ApiKeyCredentials(in_headers=headers))


approved = FaceClient(told["traffic"], CognitiveServicesCredentials(told["approved_key"]))
approved.large_person_group.create(GROUP, name="doors")
PERSON = approved.large_person_group_person.create(GROUP, name="somebody").person_id
approved.large_person_group_person.add_face_from_stream(GROUP, PERSON, io.BytesIO(IMAGE))
FACE = approved.face.detect_with_stream(io.BytesIO(IMAGE))[0].face_id
found = approved.face.identify([FACE], large_person_group_id=GROUP)
claim("a face that was added is identified", found[0].candidates[0].person_id, PERSON)


def calls(key, client_wide):
    face = with_headers(key, client_wide).face

    def detect(lent, return_face_id):
        face.detect_with_stream(io.BytesIO(IMAGE), return_face_id=return_face_id, custom_headers=lent)

    return {
        "detect without faceId": lambda lent: detect(lent, False),
        "detect": lambda lent: detect(lent, True),
        "identify": lambda lent: face.identify([FACE], large_person_group_id=GROUP, custom_headers=lent),
        "verify": lambda lent: face.verify_face_to_face(FACE, FACE, custom_headers=lent),
    }


play(calls, APIErrorException, lambda error: (error.response.status_code, error.error.error.code))
