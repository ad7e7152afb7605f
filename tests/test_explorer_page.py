"""The explorer in a real browser: what it shows is what the arrays say."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from signsal_jax.evaluations import blur
from signsal_jax.report import explorer
from tests import browser as chromium, explained

# Names as an attacker would choose them.
EVIL = "</script><script>window.hacked = 1</script>"
NAMES = ("cat", f"<img src=x onerror='window.hacked = 2'>{EVIL}", "eel & ray", "{{program}}")
ROWS, COLUMNS, CLASSES = 6, 9, len(NAMES)
FRACTIONS = np.asarray([0.0, 0.25, 0.5])


def made_subject(seed, title):
    """Random numbers in every place, and an empty map."""
    rng = np.random.default_rng(seed)
    maps = {name: rng.random((ROWS, COLUMNS)) for name in ("vanilla", "negative")}
    maps["active"] = np.zeros((ROWS, COLUMNS))
    deleted = explorer.Deleted(
        tuple(maps),
        ("black", "white", "blur"),
        FRACTIONS,
        rng.integers(1, 4, (len(maps), ROWS, COLUMNS)).astype(np.uint8),
        rng.random((len(maps), 3, 3, CLASSES)),
        rng.integers(0, CLASSES, (len(maps), 3, 3)),
    )
    found = explorer.ClassGradients(
        rng.random((ROWS, COLUMNS, 3)).astype(np.float32),
        NAMES,
        np.asarray([4.0, 3.0, 2.0, 1.0]),
        0,
        np.arange(CLASSES, dtype=np.int32),
        rng.standard_normal((CLASSES, ROWS, COLUMNS)).astype(np.float32),
        deleted,
    )
    signed = {"active & inactive": rng.standard_normal((ROWS, COLUMNS))}
    change = np.abs(rng.standard_normal((2, 4, 3, 3)))
    change[:, 1] *= -1
    moved = np.asarray([0.05, 0.02])
    steps = explorer.Steps(("positive", "active"), (1 / 255, 4 / 255, 16 / 255), change, moved)
    return explorer.subject(title, found, "plain", maps, signed, steps=steps)


@pytest.fixture(scope="module")
def subjects():
    return [made_subject(0, f"one.png{EVIL}"), made_subject(1, "two.png")]


@pytest.fixture(scope="module")
def page(subjects, tmp_path_factory):
    plot = explorer.Plot("Deletion", "pixels deleted", [0.0, 0.5], [])
    plot.series.append({"name": EVIL, "values": [1.0, 0.25]})
    columns = [{"name": "map", "digits": None}, {"name": EVIL, "digits": 2}]
    table = explorer.Table("Areas", columns, [["b", -0.25], ["a", 0.5], [EVIL, None]])
    path = explorer.write_explorer(
        tmp_path_factory.mktemp("page") / "explorer.html",
        subjects,
        title=f"Title {EVIL}",
        about={"Network": EVIL},
        notes=[EVIL],
        plots=[plot],
        tables=[table],
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium.opened(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def shown(driver, page):
    """Opens the page; afterwards nothing may stand in the console, and no script may have run."""

    def show(fragment="", **options):
        chromium.show(driver, page + fragment, **options)
        await_image(driver)
        return driver

    yield show
    assert driver.get_log("browser") == []
    assert driver.execute_script("return window.hacked") is None


def find(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def texts(driver, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())"
    return driver.execute_script(script, selector)


def await_image(driver):
    script = "return document.querySelector('main')?.ariaBusy"
    chromium.wait(lambda: driver.execute_script(script) == "false", "an image")


def numbers(driver):
    """The values beside the bars."""
    return [float(text.replace("−", "-")) for text in texts(driver, ".bars .value")]


def frame(driver, number):
    return driver.find_elements(By.CSS_SELECTOR, ".frame")[number]


def hover(driver, row, column, number=1, press=False):
    """Moves the mouse to the middle of a pixel of a panel."""
    element = frame(driver, number)
    size = element.size
    x = round((column + 0.5) / COLUMNS * size["width"] - size["width"] / 2)
    y = round((row + 0.5) / ROWS * size["height"] - size["height"] / 2)
    actions = ActionChains(driver, duration=0).move_to_element_with_offset(element, x, y)
    (actions.click() if press else actions).perform()


def shifted(driver, key):
    actions = ActionChains(driver, duration=0)
    actions.key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()


def expect_pixel(driver, subject, row, column):
    """The page shows this pixel, and its numbers are those of the arrays."""
    assert find(driver, ".pixel h2").text == f"Row {row}, column {column}"
    view = subject.views["plain"]
    expected = view.gradients[:, row, column]
    scale = np.percentile(np.abs(view.gradients), 99.5)
    # Two decimals are shown.
    np.testing.assert_allclose(numbers(driver), expected, atol=scale / 127 / 8 + 0.005)
    order = np.argsort(-expected)
    ranks = texts(driver, ".bars .rank")
    assert [ranks.index("1st"), ranks.index("2nd")] == order[:2].tolist()
    says = find(driver, ".pixel .says").text
    assert says.startswith(f"{NAMES[order[0]]} leads; runner-up {NAMES[order[1]]}; margin ")
    margin = float(re.findall(r"margin ([\d.]+)\.", says)[0])
    assert margin == pytest.approx(expected[order[0]] - expected[order[1]], abs=0.02)


def test_hover_shows_the_numbers_of_the_arrays(shown, subjects):
    driver = shown()
    for panel, row, column in ((0, 0, 0), (1, 5, 8), (2, 2, 3), (3, 4, 1)):
        hover(driver, row, column, panel)
        expect_pixel(driver, subjects[0], row, column)
    here = [float(text.replace("−", "-")) for text in texts(driver, ".here") if text.strip()]
    view = subjects[0].views["plain"]
    a, b = view.gradients[0, 4, 1], view.signed["active & inactive"][4, 1]
    np.testing.assert_allclose(here, [a, b, a - b], atol=0.02)


def test_a_click_holds_the_pixel_and_escape_releases_it(shown, subjects):
    driver = shown()
    hover(driver, 3, 3, press=True)
    hover(driver, 1, 1)
    expect_pixel(driver, subjects[0], 3, 3)
    find(driver, ".pin").click()
    hover(driver, 1, 1, number=2)
    expect_pixel(driver, subjects[0], 1, 1)


def test_keys_alone_move_the_pixel_and_choose(shown, subjects):
    driver = shown("#row=2&column=2")
    keys = ActionChains(driver, duration=0)
    # The images are one stop of the tab key, each frame and menu another.
    keys.send_keys(Keys.TAB, Keys.TAB).send_keys(Keys.DOWN, Keys.RIGHT, Keys.RIGHT).perform()
    expect_pixel(driver, subjects[0], 3, 4)
    spoken = find(driver, ".spoken").get_attribute("textContent")
    assert spoken.startswith("Row 3, column 4. ")
    shifted(driver, Keys.LEFT)
    expect_pixel(driver, subjects[0], 3, 0)
    shifted(driver, Keys.TAB)
    ActionChains(driver, duration=0).send_keys(Keys.RIGHT).perform()
    await_image(driver)
    expect_pixel(driver, subjects[1], 3, 0)


def test_a_bar_opens_the_map_of_its_class(shown, subjects):
    driver = shown("#row=1&column=7")
    driver.find_elements(By.CSS_SELECTOR, ".bars button")[2].click()
    menu = driver.find_elements(By.CSS_SELECTOR, ".panel select")[0]
    assert menu.get_attribute("value") == "class-2"
    gradient = subjects[0].views["plain"].gradients[2, 1, 7]
    here = float(texts(driver, ".here")[1].replace("−", "-"))
    assert here == pytest.approx(gradient, abs=0.02)


PIXELS = """
const canvas = document.querySelectorAll("canvas")[arguments[0]];
return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
"""


def canvas(driver, number):
    """The colors of a canvas `[h, w, 3]`."""
    data = np.asarray(driver.execute_script(PIXELS, number)).reshape(ROWS, COLUMNS, 4)
    return data[..., :3]


@pytest.mark.parametrize("dark", [False, True])
def test_signs_are_colors_and_zero_is_the_ground(shown, subjects, dark):
    driver = shown("#b=map-active", dark=dark)
    gradient = subjects[0].views["plain"].gradients[0]
    colors = canvas(driver, 1)
    redder = colors[..., 0] - colors[..., 2]
    strong = np.abs(gradient) > 0.3
    assert (redder[strong & (gradient > 0)] > 10).all()
    assert (redder[strong & (gradient < 0)] < -10).all()
    empty = canvas(driver, 2)
    assert (empty == empty[0, 0]).all()
    assert (empty.mean() < 50) == dark
    assert texts(driver, ".unit")[2] == "empty: nothing to see"


def test_deletion_shows_the_image_and_what_the_network_says(shown, subjects):
    driver = shown()
    deleted = subjects[0].views["plain"].deleted
    find(driver, ".deletion select").send_keys("negative")
    find(driver, "input[value=white]").click()
    slider = find(driver, "input[type=range]")
    slider.send_keys(Keys.RIGHT, Keys.RIGHT)
    method = deleted.methods.index("negative")
    gone = deleted.first[method] <= 2
    expected = np.round(255 * subjects[0].image)
    expected[gone] = 255
    np.testing.assert_array_equal(canvas(driver, 4), expected)
    assert texts(driver, ".slide output")[0].startswith(f"{100 * gone.mean():.0f} % of the pixels")
    says = NAMES[deleted.predicted[method, 1, 2]]
    assert says in find(driver, ".deletion .says").text
    best = deleted.probabilities[method, 1, 2].max()
    assert f"{100 * best:.0f} %" in texts(driver, ".shares .number")[0]


def test_deletion_by_blur_shows_the_blurred_image(shown, subjects):
    driver = shown("#share=2&order=vanilla&fill=blur")
    deleted = subjects[0].views["plain"].deleted
    gone = deleted.first[deleted.methods.index("vanilla")] <= 2
    blurred = np.asarray(blur(subjects[0].image[None])[0])
    expected = np.round(255 * np.where(gone[..., None], blurred, subjects[0].image))
    np.testing.assert_array_equal(canvas(driver, 4), expected)
    assert gone.any()


def test_small_steps_show_the_changes_that_were_evaluated(shown, subjects):
    driver = shown("#steps=active&epsilon=1")
    steps = subjects[0].views["plain"].steps
    values = [float(text.replace("−", "-")) for text in texts(driver, ".ways .value")]
    np.testing.assert_allclose(values, steps.change[1, :, 1, 0], atol=0.006)
    assert texts(driver, ".steps output") == ["4/255 of brightness"]
    assert find(driver, ".steps .foot").text.endswith("2.0 % of the pixels are moved.")
    assert find(driver, ".steps .says").text.startswith("The sign holds: cat rises along it")
    find(driver, ".steps input").send_keys(Keys.RIGHT)
    probabilities = [text.split()[0] for text in texts(driver, ".ways .number")]
    found = [float(text.replace("−", "-")) for text in probabilities]
    np.testing.assert_allclose(found, 100 * steps.change[1, :, 2, 2], atol=0.06)
    chromium.wait(lambda: "epsilon=2" in driver.current_url, "the address")


def test_the_address_restores_the_view(shown, subjects):
    driver = shown()
    driver.find_elements(By.CSS_SELECTOR, ".thumbnail")[1].click()
    await_image(driver)
    driver.find_elements(By.CSS_SELECTOR, ".bars button")[3].click()
    hover(driver, 5, 2)
    find(driver, "input[type=range]").send_keys(Keys.RIGHT)

    def view():
        menus = driver.find_elements(By.CSS_SELECTOR, "select")
        return [
            *(menu.get_attribute("value") for menu in menus),
            find(driver, ".pixel h2").text,
            *texts(driver, ".bars .value"),
            *texts(driver, ".deletion p, output"),
            canvas(driver, 1).tolist(),
        ]

    before = view()
    chromium.wait(lambda: "share=1" in driver.current_url, "the address")
    fragment = driver.current_url.partition("#")[2]
    shown(f"#{fragment}")
    assert view() == before
    expect_pixel(driver, subjects[1], 5, 2)


@pytest.mark.parametrize("fragment", ["#image=99&row=1e9&a=class-77", "#a=<script>&row=-1", "#%"])
def test_a_wrong_address_shows_something(shown, fragment):
    assert len(numbers(shown(fragment))) == CLASSES


@pytest.mark.parametrize("width", [390, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_every_width_and_theme_is_accessible(shown, width, dark):
    driver = shown(width=width, dark=dark)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert chromium.violations(driver) == []


def test_tables_sort(shown):
    driver = shown()
    assert texts(driver, "td:first-child") == ["b", "a", EVIL]
    for expected in (["b", "a", EVIL], [EVIL, "a", "b"]):
        driver.find_elements(By.CSS_SELECTOR, "th button")[1].click()
        assert texts(driver, "td:first-child") == expected
    assert texts(driver, "td:last-child") == ["", "0.50", "−0.25"]


def test_a_notebook_shows_the_page_in_a_frame(driver, page, tmp_path):
    text = Path(unquote(urlsplit(page).path)).read_text(encoding="utf-8")
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html>{explorer.Explorer(text)._repr_html_()}", "utf-8")
    chromium.show(driver, notebook.as_uri())
    driver.switch_to.frame(find(driver, "iframe"))
    await_image(driver)
    hover(driver, 2, 5)
    expect_pixel(driver, made_subject(0, ""), 2, 5)
    driver.switch_to.default_content()
    assert driver.get_log("browser") == []
    assert driver.execute_script("return window.hacked") is None


def test_the_first_twenty_of_ten_thousand_pictures_open(driver, tmp_path):
    names = [f"{number}.png" for number in range(25)]
    folder = explained.folder(tmp_path / "many", "plain", names, more=9_975)
    page, shown, count = explorer.explain_explorer([folder])
    assert (shown, count) == (20, 10_000)
    assert page.stat().st_size < 1_000_000
    chromium.show(driver, page.as_uri())
    await_image(driver)
    assert texts(driver, ".thumbnail span") == names[:20]
    assert "The first 20 of 10000 pictures." in texts(driver, ".note")
    assert driver.get_log("browser") == []


def test_one_image_that_is_not_finite_and_empty_maps_open(driver, tmp_path):
    found = explained.found(0)
    found.gradients[1, 2, 2] = np.nan
    found.image[0, 0] = np.nan
    maps = {"active": np.zeros(found.image.shape[:2])}
    one = explorer.subject("a.png", found, "plain", maps, {})
    empty = one._replace(title="b.png", views={"plain": one.views["plain"]._replace(
        gradients=np.zeros_like(found.gradients))})  # fmt: skip
    for subject, finite in ((one, False), (empty, True)):
        path = explorer.write_explorer(tmp_path / "a.html", [subject], title="", about={})
        chromium.show(driver, path.as_uri() + "#a=map-active&row=2&column=2")
        await_image(driver)
        assert texts(driver, ".unit")[1] == "empty: nothing to see"
        assert numbers(driver)[1] == 0
        notes = " ".join(texts(driver, ".note:not([hidden])"))
        assert ("Some numbers of this image are not finite." in notes) != finite
        assert driver.get_log("browser") == []


def test_the_page_survives_nbconvert(driver, page, subjects, tmp_path):
    """The frame's output in a notebook, made by nbconvert into a page of its own."""
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert")
    text = Path(unquote(urlsplit(page).path)).read_text(encoding="utf-8")
    shown = {"text/html": explorer.Explorer(text)._repr_html_(), "text/plain": "Explorer"}
    output = {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": shown}
    cell = {"cell_type": "code", "id": "a", "execution_count": 1, "metadata": {}, "source": "page"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {**cell, "outputs": [output]}]}  # fmt: skip
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook))
    converted, _ = nbconvert.HTMLExporter().from_filename(str(tmp_path / "a.ipynb"))
    (tmp_path / "a.html").write_text(converted, encoding="utf-8")
    chromium.show(driver, (tmp_path / "a.html").as_uri())
    driver.switch_to.frame(find(driver, "iframe"))
    await_image(driver)
    hover(driver, 2, 5)
    expect_pixel(driver, subjects[0], 2, 5)
    assert driver.execute_script("return window.hacked") is None
    driver.switch_to.default_content()
    driver.get_log("browser")  # nbconvert's own page asks for scripts of the network


CSV = """
const clicked = HTMLAnchorElement.prototype.click;
const done = arguments[arguments.length - 1];
HTMLAnchorElement.prototype.click = function () {
  HTMLAnchorElement.prototype.click = clicked;
  blobs.get(this.href).text().then(done);
};
const blobs = new Map();
const create = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  const address = create(blob);
  blobs.set(address, blob);
  return address;
};
document.querySelectorAll("footer button")[arguments[0]].click();
"""


def test_downloads_hold_the_numbers(shown, subjects):
    driver = shown()
    lines = driver.execute_async_script(CSV, 0).splitlines()
    assert len(lines) == 1 + ROWS * COLUMNS
    values = np.asarray([[float(value) for value in line.split(",")] for line in lines[1:]])
    view = subjects[0].views["plain"]
    gradients = values[:, 2 : 2 + CLASSES].T.reshape(CLASSES, ROWS, COLUMNS)
    np.testing.assert_allclose(gradients, view.gradients, atol=0.01)
    np.testing.assert_array_equal(np.sign(gradients), np.sign(view.gradients))
    # Negative keeps darker: its numbers are below zero.
    np.testing.assert_allclose(
        -values[:, -2].reshape(ROWS, COLUMNS), view.maps["negative"], atol=0.01
    )
