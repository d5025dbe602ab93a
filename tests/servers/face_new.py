"""Drives azure-ai-vision-face, the client of Face that Azure recommends."""

from azure_clients import claim, told
from face_cases import GROUP, IMAGE, play

from azure.ai.vision.face import FaceAdministrationClient, FaceClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError

MODELS = {"detection_model": "detection_03", "recognition_model": "recognition_04"}


def client(kind, key, **more):
    return kind(told["traffic"], AzureKeyCredential(key), retry_total=0, **more)


groups = client(FaceAdministrationClient, told["approved_key"]).large_person_group
groups.create(GROUP, name="doors", recognition_model="recognition_04")
PERSON = groups.create_person(GROUP, name="somebody").person_id
groups.add_face(GROUP, PERSON, IMAGE, detection_model="detection_03")
approved = client(FaceClient, told["approved_key"])
FACE = approved.detect(IMAGE, return_face_id=True, **MODELS)[0].face_id
found = approved.identify_from_large_person_group(face_ids=[FACE], large_person_group_id=GROUP)
claim("a face that was added is identified", found[0].candidates[0].person_id, PERSON)


def calls(key, client_wide):
    face = client(FaceClient, key, headers=client_wide)
    of_group = {"face_ids": [FACE], "large_person_group_id": GROUP}
    return {
        "detect without faceId": lambda lent: face.detect(IMAGE, return_face_id=False, headers=lent, **MODELS),
        "detect": lambda lent: face.detect(IMAGE, return_face_id=True, headers=lent, **MODELS),
        "identify": lambda lent: face.identify_from_large_person_group(headers=lent, **of_group),
        "verify": lambda lent: face.verify_face_to_face(face_id1=FACE, face_id2=FACE, headers=lent),
    }


play(calls, HttpResponseError, lambda error: (error.status_code, error.error.code))
