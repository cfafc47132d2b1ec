"""The REST service in this process: answers, what it refuses and how, limits, token, counters."""

from __future__ import annotations

import base64
import io
import json
import zlib

import pytest
from PIL import Image

pytest.importorskip("fastapi")
from serving import Capitals
from starlette.testclient import TestClient

from dpe_mner.checkpoints.hub import bundled_folder
from dpe_mner.data.demo import demo_posts
from dpe_mner.errors import InputError
from dpe_mner.onnx.runtime import OnnxModel
from dpe_mner.web.application import create_app
from dpe_mner.web.limits import Limits

NASTY = '<script>alert("x")</script> Paris & \x00 "quoted" 🚀'


@pytest.fixture
def model():
    return Capitals()


@pytest.fixture
def client(model):
    with TestClient(create_app(model)) as client:
        yield client


@pytest.fixture(scope="module")
def bundled():
    return OnnxModel(bundled_folder(), threads=1)


def picture(size=(20, 10), kind="PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, kind)
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than anybody wants to decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def refusal(response, status, code):
    """The message and the place of an error of this kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message", "where"}
    assert error["code"] == code
    assert "\n" not in error["message"]
    return error["message"], error["where"]


def test_the_bundled_model_answers_as_it_does_in_python(bundled):
    posts = demo_posts(pictures=False)
    with TestClient(create_app(bundled)) as client:
        rows = [
            {"id": p.id, "caption": p.caption, "tags": p.tags} | ({"text": p.text} if p.text else {"words": p.words})
            for p in posts
        ]
        alone = [client.post("/v1/predict", json=row).json() for row in rows]
        together = client.post("/v1/predict/batch", json={"posts": rows}).json()["predictions"]
    wanted = [
        {"id": post.id, "entities": [entity.as_dict() for entity in entities], "warnings": []}
        for post, entities in zip(posts, bundled.predict(posts), strict=True)
    ]
    assert alone == together == wanted
    assert sum(len(answer["entities"]) for answer in alone) > 10


def test_a_form_brings_a_picture_and_reaches_the_model(model):
    model.pictures = object()
    with TestClient(create_app(model)) as client:
        fields = {
            "text": "Kevin runs",
            "caption": "a man",
            "tags": "person, ball",
            "seed": "7",
            "steps": "3",
            "spans": "",
        }
        found = client.post("/v1/predict", data=fields, files={"image": ("x.png", picture())})
    assert found.json()["entities"][0]["text"] == "Kevin"
    assert found.json()["warnings"] == []
    (((post,),), (options,)) = model.batches, model.options
    assert (post.caption, list(post.tags), post.image) == ("a man", ["person", "ball"], picture())
    assert (options.seed, options.steps, options.spans, options.explain) == (7, 3, None, False)


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
def test_json_brings_a_picture_in_base64(model, head):
    model.pictures = object()
    with TestClient(create_app(model)) as client:
        image = head + base64.b64encode(picture()).decode()
        assert client.post("/v1/predict", json={"text": "Kevin", "image": image}).status_code == 200
    assert model.batches[0][0].image == picture()


def test_a_picture_that_the_model_cannot_read_is_told(client, model):
    found = client.post("/v1/predict", data={"text": "Kevin"}, files={"image": ("x.png", picture())})
    assert found.json()["warnings"] == ["image: not used; this model reads captions and tags, not pictures"]
    assert model.batches[0][0].image is None


def test_an_explanation_has_the_steps(client):
    found = client.post("/v1/explain", json={"text": "Kevin in Paris", "caption": "a man"}).json()
    assert [step["step"] for step in found["steps"]] == [1, 2]
    assert found["steps"][0]["starts"][0]["word_end"] == 1
    assert found["relevance"]["token"]["coarse"] == 0.25


def test_a_model_that_does_not_explain_says_so():
    with TestClient(create_app(Capitals(explains=False))) as client:
        assert client.get("/v1/model").json()["explains"] is False
        message, _ = refusal(client.post("/v1/explain", json={"text": "Kevin"}), 422, "invalid")
        assert "explain" in message
        assert client.post("/v1/predict", json={"text": "Kevin"}).status_code == 200


@pytest.mark.parametrize("text", ["", " \n", NASTY, "\u202eabc", "é" * 50])
def test_any_text_is_answered(client, text):
    found = client.post("/v1/predict", json={"text": text, "caption": NASTY, "id": NASTY[:100]})
    assert found.status_code == 200
    assert found.json()["id"] == NASTY[:100]
    assert found.headers["x-content-type-options"] == "nosniff"
    assert bool(found.json()["warnings"]) == (not text.strip())


@pytest.mark.parametrize(
    ("row", "code", "where", "words"),
    [
        ({}, "invalid", "", "either text or words"),
        ({"text": "a", "words": ["a"]}, "invalid", "", "not both"),
        ({"text": 5}, "invalid", "text", "string"),
        ({"text": "a", "txet": "b"}, "invalid", "txet", "not a field"),
        ({"text": "a", "seed": -1}, "invalid", "seed", "greater"),
        ({"text": "a", "seed": "1"}, "invalid", "seed", "integer"),
        ({"text": "a", "steps": 1000}, "too_long", "steps", "at most 20"),
        ({"text": "a", "spans": 10**30}, "too_long", "spans", "at most 512"),
        ({"text": "a", "tags": [1]}, "invalid", "tags.0", "string"),
        ({"text": "a", "convention": "other"}, "invalid", "convention", "does not know it"),
        ({"text": "a" * 10_001}, "too_long", "text", "at most 10000"),
        ({"words": ["a"] * 5_001}, "too_long", "words", "at most 10000"),
        ({"text": "a", "caption": "b" * 2_001}, "too_long", "caption", "at most 2000"),
        ({"text": "a", "image": "https://example.org/a.jpg"}, "invalid", "image", "not fetched"),
        ({"text": "a", "image": "file:///etc/passwd"}, "invalid", "image", "not fetched"),
        ({"text": "a", "image": "../etc/passwd"}, "invalid", "image", "not base64"),
        ({"text": "a", "image": "aGVsbG8="}, "picture", "image", "not a picture"),
        ({"text": "a", "image": ""}, "picture", "image", "empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(client, model, row, code, where, words):
    message, place = refusal(client.post("/v1/predict", json=row), 422, code)
    assert place == where
    assert words in message
    assert model.batches == []
    assert client.post("/v1/predict", json={"text": "Kevin"}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 10**5, b'{"text": "\\ud800"}', b"\xff\xfe", b'"text"', b"null", b'{"text": NaN}'],
)
def test_what_is_no_json_is_told(client, body):
    refusal(client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"}), 422, "invalid")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("text/plain", 415, "content_type"),
        ("application/x-www-form-urlencoded", 415, "content_type"),
        ("", 415, "content_type"),
        ("multipart/form-data", 400, "invalid"),
        ("multipart/form-data; boundary=x", 400, "invalid"),
    ],
)
def test_another_content_type_is_told(client, kind, status, code):
    refusal(client.post("/v1/predict", content=b"text=Kevin", headers={"Content-Type": kind}), status, code)


def test_a_batch_takes_json_and_so_many_posts(model):
    with TestClient(create_app(model, limits=Limits(posts=3))) as client:
        form = client.post("/v1/predict/batch", data={"text": "a"})
        refusal(form, 415, "content_type")
        message, _ = refusal(client.post("/v1/predict/batch", json={"posts": [{"text": "a"}] * 4}), 422, "too_long")
        assert "at most 3" in message
        posts = [{"text": "a"}, {"text": "b", "caption": 3}]
        assert refusal(client.post("/v1/predict/batch", json={"posts": posts}), 422, "invalid")[1] == "posts.1.caption"
        assert client.post("/v1/predict/batch", json={"posts": []}).json() == {"predictions": []}


def form_with(**files):
    return {"data": {"text": "Kevin"}, "files": {name: (f"{name}.png", data) for name, data in files.items()}}


def test_pictures_are_looked_at_first(model):
    with TestClient(create_app(model, limits=Limits(pixels=1_000_000))) as client:
        good, jpeg = picture(), picture(kind="JPEG")
        message, where = refusal(client.post("/v1/predict", **form_with(image=bomb(12_000, 12_000))), 422, "picture")
        assert "12000 x 12000" in message
        assert where == "image"
        refusal(client.post("/v1/predict", **form_with(image=bomb(60_000, 60_000))), 422, "picture")
        refusal(client.post("/v1/predict", **form_with(image=picture((2000, 600)))), 422, "picture")
        refusal(client.post("/v1/predict", **form_with(image=good[: len(good) // 2])), 422, "picture")
        refusal(client.post("/v1/predict", **form_with(image=b"<svg onload='alert(1)'/>")), 422, "picture")
        refusal(client.post("/v1/predict", **form_with(other=good)), 422, "invalid")
        assert model.batches == []
        assert client.post("/v1/predict", **form_with(image=jpeg)).status_code == 200


def test_a_field_of_a_form_stands_once_but_for_tags(client, model):
    twice = [("text", (None, "a")), ("text", (None, "b"))]
    assert "twice" in refusal(client.post("/v1/predict", files=twice), 422, "invalid")[0]
    tags = [("text", (None, "a")), ("tags", (None, "x, y")), ("tags", (None, "z"))]
    assert client.post("/v1/predict", files=tags).status_code == 200
    assert list(model.batches[0][0].tags) == ["x, y", "z"]


def test_a_body_has_a_limit_also_where_its_length_is_not_said(model):
    with TestClient(create_app(model, limits=Limits(body_bytes=1000))) as client:
        large = json.dumps({"text": "a" * 2000}).encode()
        kind = {"Content-Type": "application/json"}
        said = client.post("/v1/predict", content=large, headers=kind)
        unsaid = client.post("/v1/predict", content=iter([large[:500], large[500:]]), headers=kind)
        for response in (said, unsaid):
            refusal(response, 413, "too_large")
            assert response.headers["connection"] == "close"
        assert client.post("/v1/predict", json={"text": "Kevin"}).status_code == 200
    assert len(model.batches) == 1


def test_one_bad_post_takes_no_other_with_it(client):
    posts = [{"text": "Kevin"}, {"text": "please refuse"}]
    refusal(client.post("/v1/predict/batch", json={"posts": posts}), 422, "invalid")
    fault, _ = refusal(client.post("/v1/predict", json={"text": "fail"}), 500, "fault")
    assert "a fault in the model" not in fault
    assert client.post("/v1/predict", json={"text": "Kevin"}).status_code == 200


def test_a_token_guards_all_but_health():
    with TestClient(create_app(Capitals(), token="s3cret")) as client:
        for path in ("/v1/model", "/metrics", "/openapi.json", "/nowhere"):
            assert refusal(client.get(path), 401, "token")
            assert client.get(path).headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer", "Bearer s3cre", "Basic s3cret", "Bearer s3cret2", "s3cret"):
            refused = client.post("/v1/predict", json={"text": "Kevin"}, headers={"Authorization": wrong})
            refusal(refused, 401, "token")
        good = {"Authorization": "bearer s3cret"}
        assert client.post("/v1/predict", json={"text": "Kevin"}, headers=good).status_code == 200
        assert client.get("/health").json()["status"] == "ok"


def test_counters_tell_what_happened(client):
    client.post("/v1/predict", json={"text": "Kevin"})
    client.post("/v1/predict", json={"txt": "Kevin"})
    client.get("/some/where")
    shown = client.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain")
    for line in (
        'dpe_mner_requests_total{path="/v1/predict",status="200"} 1.0',
        'dpe_mner_requests_total{path="/v1/predict",status="422"} 1.0',
        'dpe_mner_requests_total{path="other",status="404"} 1.0',
        'dpe_mner_refused_total{code="invalid"} 1.0',
        "dpe_mner_posts_total 1.0",
        "dpe_mner_held_bytes 0.0",
        "dpe_mner_waiting_posts 0.0",
    ):
        assert line in shown.text.splitlines()


def test_wrong_paths_and_methods_are_told(client):
    refusal(client.get("/v1/nothing"), 404, "not_found")
    refusal(client.get("/v1/predict"), 405, "method")
    refusal(client.get("/../../etc/passwd"), 404, "not_found")


def test_limits_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="never fits a queue"):
        Limits(posts=20, queue=10)
    with pytest.raises(InputError, match="above 0"):
        Limits(batch=0)
