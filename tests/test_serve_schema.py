"""The service against its own OpenAPI schema: whatever Schemathesis makes of it, no answer is a fault of ours."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from serving import Capitals
from starlette.testclient import TestClient

from dpe_mner.web.application import create_app
from dpe_mner.web.limits import Limits

APP = create_app(Capitals(), limits=Limits(body_bytes=10**6, held_bytes=10**8))
schema = schemathesis.openapi.from_asgi("/openapi.json", APP)
QUICK = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)


@schema.parametrize()
@QUICK
def test_no_request_makes_it_fail(case):
    case.call_and_validate(
        checks=[
            checks.not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ]
    )


def test_every_endpoint_is_in_the_schema():
    with TestClient(APP) as client:
        shown = client.get("/openapi.json").json()
    assert set(shown["paths"]) == {
        "/v1/predict",
        "/v1/predict/batch",
        "/v1/explain",
        "/v1/model",
        "/health",
        "/metrics",
    }
    bodies = shown["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"application/json", "multipart/form-data"}
