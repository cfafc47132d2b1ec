"""The web page: its files, its answers, and itself in a real headless browser (marked slow)."""

from __future__ import annotations

import json
import re
import shutil

import pytest

pytest.importorskip("fastapi")
from serving import Capitals, served
from starlette.testclient import TestClient
from test_serve import picture

from dpe_mner.data.demo import demo_posts
from dpe_mner.web.application import create_app
from dpe_mner.web.guard import CONTENT_POLICY
from dpe_mner.web.site import site_files

NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script> Kevin"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MOST_BYTES = 60_000


@pytest.fixture
def client():
    with TestClient(create_app(Capitals(box=(0.25, 0.25, 0.5, 0.75)), token="abc")) as client:
        yield client


def test_the_page_needs_no_token_and_allows_nothing_from_elsewhere(client):
    for path in ("/", "/docs", *site_files()):
        found = client.get(path)
        assert found.status_code == 200, path
        assert found.headers["content-security-policy"] == CONTENT_POLICY
    assert "unsafe" not in CONTENT_POLICY
    assert client.post("/page/answer", json={"text": "Kevin"}).status_code == 401
    assert client.get("/page/../application.py").status_code in (401, 404)


def test_nothing_on_the_page_points_outside_or_runs_inline():
    files = {
        path: content.decode() for path, (kind, content) in site_files().items() if not kind.startswith("image/jp")
    }
    for path, content in files.items():
        outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", content.replace("http://www.w3.org/2000/svg", ""))
        assert outside == [], path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", content), path
        if path in ("/", "/docs"):
            assert not re.search(r"<style|style=|<script>|\son\w+=", content), path
            for target in re.findall(r'(?:src|href)="(page/[^"]+)"', content):
                assert f"/{target}" in files
    sizes = [len(files[path]) for path in files if path == "/" or path.endswith((".js", ".css", ".json"))]
    assert sum(sizes) < MOST_BYTES


def test_what_the_page_draws_is_data_cut_by_code_points(client):
    good = {"Authorization": "Bearer abc"}
    found = client.post("/page/answer", json={"text": f"🚀🚀 {NASTY}", "caption": "x"}, headers=good).json()
    assert "".join(piece["text"] for piece in found["pieces"]) == f"🚀🚀 {NASTY}"
    marked = [piece for piece in found["pieces"] if "label" in piece]
    assert [(piece["text"], piece["label"], piece["colour"]) for piece in marked] == [("Kevin", "PER", 0)]
    assert [step["step"] for step in found["steps"]] == [1, 2]
    words = next(iter(found["steps"][1]["diagrams"].values()))["words"]
    assert [word["text"] for word in words if word["colour"] is not None] == ["Kevin"]
    assert found["boxes"] == [{"box": [0.25, 0.25, 0.5, 0.75], "numbers": [1], "colour": 0}]
    assert {source["name"]: source["present"] for source in found["sources"]}["caption"] is True


def test_a_model_that_does_not_explain_gives_entities_without_steps():
    with TestClient(create_app(Capitals(explains=False))) as client:
        found = client.post("/page/answer", json={"text": "Kevin runs"}).json()
    assert (found["steps"], [entity["text"] for entity in found["entities"]]) == ([], ["Kevin"])


def test_examples_are_the_demonstration_posts(client):
    rows = client.get("/page/examples.json").json()
    assert [row["id"] for row in rows] == [post.id for post in demo_posts()]
    for row in rows:
        if "picture" in row:
            assert client.get(f"/{row['picture']}").content[:3] == b"\xff\xd8\xff"
            assert row["credit"]
    assert "credit" in json.dumps(rows)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def address():
    with served(Capitals(box=(0.25, 0.25, 0.5, 0.75), pictures=object())) as address:
        yield address


class Visit:
    """A page with what went wrong on it and what it asked others for."""

    def __init__(self, browser, address, path="/", **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.wrong, self.outside, self.dialogs = [], [], []
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self._note(request.url, address))
        self.page.goto(address + path)

    def _note(self, url, address):
        if not url.startswith((address, "blob:")):
            self.outside.append(url)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()
        if error[0] is None:
            assert (self.wrong, self.outside, self.dialogs) == ([], [], [])

    def ask(self, text, **fields):
        for name, value in ({"text": text} | fields).items():
            self.page.fill(f"#{name}", value)
        self.page.click("#ask")
        self.told("#status", "found")

    def told(self, where, words):
        """Wait until it says so; a function of the page's own would be evaluated, which its policy forbids."""
        self.page.locator(where).filter(has_text=words).wait_for()


def marks(page):
    return page.locator("#read mark").evaluate_all("all => all.map(mark => mark.firstChild.textContent)")


@pytest.mark.slow
def test_a_post_is_read_step_by_step(browser, address, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(picture((200, 100)))
    with Visit(browser, address) as visit:
        page = visit.page
        page.set_input_files("#image", str(path))
        visit.ask("Kevin saw a Picture of Paris", caption="a man")
        assert marks(page) == ["Kevin", "Picture", "Paris"]
        assert page.locator("#picture img").evaluate("image => image.naturalWidth") == 200
        box, image = page.locator("#picture b.box").bounding_box(), page.locator("#picture img").bounding_box()
        assert abs((box["x"] - image["x"]) / image["width"] - 0.25) < 0.03
        shares = page.locator("#beside .bar i").evaluate_all(
            "all => all.map(i => i.clientWidth / i.parentNode.clientWidth)"
        )
        assert shares == pytest.approx([0.25, 0.5], abs=0.02)
        assert page.text_content("#step-name") == "step 2 of 2"
        assert page.locator("#diagram svg:visible text").count() > 5
        page.focus("#step")
        page.keyboard.press("ArrowLeft")
        assert page.text_content("#step-name") == "step 1 of 2"
        assert "relevance" in page.text_content("#beside")


@pytest.mark.slow
def test_without_the_picture_what_changes_is_told(browser, address):
    with Visit(browser, address) as visit:
        page = visit.page
        visit.ask("Kevin saw a Picture", caption="a man")
        assert page.text_content("#change") == ""
        page.check("#without")
        assert marks(page) == ["Kevin"]
        assert page.text_content("#status") == "entities found without the picture: 1"
        assert "Picture PER is no longer found" in page.text_content("#change")
        page.uncheck("#without")
        assert marks(page) == ["Kevin", "Picture"]


@pytest.mark.slow
def test_scripts_in_texts_stay_texts(browser, address):
    with Visit(browser, address) as visit:
        visit.ask(NASTY, caption=NASTY, tags=NASTY)
        assert marks(visit.page) == ["Kevin"]
        assert NASTY.split(" Kevin")[0] in visit.page.text_content("#read")
        assert visit.page.locator("#read img, #read script").count() == 0


@pytest.mark.slow
def test_a_link_restores_what_was_seen(browser, address):
    with Visit(browser, address) as visit:
        visit.ask("Kevin & Paris #now", caption="a man = x", tags="a, b")
        visit.page.focus("#step")
        visit.page.keyboard.press("Home")
        visit.page.check("#without")
        link = visit.page.evaluate("location.href")
    with Visit(browser, address, link.removeprefix(address)) as visit:
        visit.page.wait_for_selector("#read mark")
        assert [visit.page.input_value(f"#{name}") for name in ("text", "caption", "tags")] == [
            "Kevin & Paris #now",
            "a man = x",
            "a, b",
        ]
        assert visit.page.is_checked("#without")
        assert visit.page.text_content("#step-name") == "step 1 of 2"


@pytest.mark.slow
def test_an_example_is_a_click_and_everything_works_by_keyboard(browser, address):
    with Visit(browser, address) as visit:
        page = visit.page
        page.focus("#text")
        page.keyboard.type("Kevin runs")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#read mark")
        page.locator("#examples button").first.focus()
        page.keyboard.press("Enter")
        visit.told("#read", "Eileen")
        assert "photograph: " in page.text_content("#beside")
        reached = set()
        page.focus("#text")
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        assert {"image", "caption", "tags", "ask", "without", "steps", "link", "step"} <= reached


@pytest.mark.slow
def test_a_refusal_is_told_and_a_token_can_be_given(browser):
    with served(Capitals(), token="abc") as address:
        visit = Visit(browser, address)
        page = visit.page
        page.wait_for_selector("#token:visible")
        assert "token" in page.text_content("#status")
        page.fill("#token", "abc")
        visit.ask("Kevin runs")
        assert marks(page) == ["Kevin"]
        assert "abc" not in page.evaluate("location.href")
        page.fill("#text", "a" * 10_001)
        page.click("#ask")
        visit.told("#status", "at most 10000")
        assert visit.outside == visit.dialogs == []
        visit.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_axe_finds_nothing_serious(browser, address, scheme, path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with Visit(browser, address, path, color_scheme=scheme) as visit:
        if path == "/":
            visit.ask("Kevin saw a Picture of Paris", caption="a man", tags="person, ball")
            visit.page.check("#without")
            visit.page.uncheck("#without")
        else:
            visit.page.wait_for_selector("#endpoints article")
        found = axe.Axe().run(visit.page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        told = [(each["id"], node["html"][:120], node["failureSummary"]) for each in serious for node in each["nodes"]]
        assert told == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_sticks_out_at_any_width(browser, address, width):
    with Visit(browser, address, viewport={"width": width, "height": 800}) as visit:
        visit.ask("Kevin saw a Picture of Paris and " * 5 + "x" * 120, caption="a man", tags="person, ball")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.locator("#diagram svg:visible").count() == 1


@pytest.mark.slow
def test_the_page_is_usable_within_a_second(browser, address):
    Visit(browser, address).context.close()  # the browser's own start is not the page's
    with Visit(browser, address) as visit:
        visit.page.wait_for_selector("#examples button")
        visit.told("#about", "PER")
        (usable,) = visit.page.evaluate("performance.getEntriesByName('usable').map(mark => mark.startTime)")
        assert usable < 1000  # milliseconds since the browser asked for the page
