"""The entry script of the Azure ML server: which iris is it, by the nearest of three centroids.

Beside the predictions, the answer tells what arrived: `received_bytes`, 0 where the server swallowed a form body,
and the request's headers, so that a test sees what a gateway passed on and what it took away.
"""

import json
import math
import time

# Mean sepal length, sepal width, petal length and petal width in centimetres (R. A. Fisher, 1936).
IRIS_MEANS = {
    "setosa": (5.006, 3.428, 1.462, 0.246),
    "versicolor": (5.936, 2.770, 4.260, 1.326),
    "virginica": (6.588, 2.974, 5.552, 2.026),
}


def init():
    global model
    model = list(IRIS_MEANS.values())


def run(raw_data, request_headers):
    """Scores `{"data": [[...], ...]}`; `"sleep_seconds"` beside it makes a slow model, anything else a failing one."""
    request = json.loads(raw_data) if raw_data else {"data": []}
    time.sleep(request.get("sleep_seconds", 0))
    return {
        "predictions": [nearest(row) for row in request["data"]],
        "received_bytes": len(raw_data.encode()),
        "request_headers": request_headers,
    }


def nearest(row):
    distances = [math.dist(row, centroid) for centroid in model]
    return distances.index(min(distances))
