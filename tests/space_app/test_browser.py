"""What a visitor sees and does, in a headless Chromium; its pictures of the page lie where --basetemp says."""

from __future__ import annotations

import base64
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from echoform import DepthAutoencoderPipeline, VQLDMDopplerPipeline

CHROMIUM = shutil.which("chromium")
WAIT_MS = 120_000
TABS = ("Generate", "Vary", "From one to another", "Did it help?", "Who walks?", "Depth")
PHONE, DESKTOP = (390, 844), (1280, 900)
AS_PNG = """image => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext('2d').drawImage(image, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}"""

# Labels and buttons, visible ones, that are wider than their place or lie over a picture.
CUT = """() => {
  const shown = [...document.querySelectorAll('button, label, .answer, figcaption, h1, p')].filter(e => e.offsetParent);
  return shown.filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'hidden')
    .map(e => e.innerText.slice(0, 60));
}"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed, as Debian's package of that name")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens the app on a screen of that size; a request to another machine, or an error on the page, fails the test."""
    asked: list[str] = []
    wrong: list[str] = []
    contexts = []

    def open_page(size: tuple[int, int] = DESKTOP) -> Page:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        expect(pictures(page)).to_have_count(3, timeout=WAIT_MS)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert asked and all(url.startswith((f"{address}/", "data:", "blob:")) for url in asked), set(asked)
    assert not wrong, wrong


def pictures(page: Page) -> Locator:
    """The pictures in the galleries of the open tab."""
    return page.locator(".image-gallery .thumbnail-lg img").locator("visible=true")


def captions(page: Page) -> list[str]:
    return page.locator(".image-gallery .caption-label").locator("visible=true").all_inner_texts()


def open_tab(page: Page, name: str) -> None:
    """Press a tab, which hides in a menu on a narrow screen."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").locator("visible=true").click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).locator("visible=true").click()


def set_number(page: Page, label: str, value: int) -> None:
    field = page.get_by_label(label, exact=True).locator("visible=true")
    field.fill(str(value))
    field.blur()


def drop(page: Page, label: str, *files: Path) -> None:
    """Put files where the open tab takes them, in place of those that lie there."""
    place = page.locator(".block").filter(has=page.get_by_test_id("block-label").filter(has_text=label))
    place.get_by_label("Clear").click()
    place.locator("input[type=file]").set_input_files(list(files))


def load(picture: Locator) -> None:
    """Scroll to a picture, which is when the browser asks for it, and wait until it is there."""
    picture.scroll_into_view_if_needed()
    # The page may put another element in its place meanwhile; these look for it anew until it is there.
    expect(picture).to_have_js_property("complete", True, timeout=WAIT_MS)
    expect(picture).not_to_have_js_property("naturalWidth", 0, timeout=WAIT_MS)


def shown_pixels(picture: Locator) -> np.ndarray:
    """What the browser shows of an image, uint8 [H, W, 3]."""
    load(picture)
    return np.asarray(Image.open(BytesIO(base64.b64decode(picture.evaluate(AS_PNG)))).convert("RGB"))


def plain(framed: np.ndarray) -> np.ndarray:
    """The 16x16 pixels inside the axes."""
    return framed[26 : 26 + 768 : 48, 194 : 194 + 768 : 48]


def test_a_visitor_chooses_a_person_and_gets_their_pictures_the_code_and_an_archive(visit: Callable[..., Page]):
    page = visit()
    assert captions(page) == ["ID_1, seed 0", "ID_2, seed 1", "ID_32, seed 2"]  # before anything was pressed
    press(page, "Random seed")
    expect(page.get_by_label("Seed", exact=True).locator("visible=true")).not_to_have_value("0", timeout=WAIT_MS)
    for user in ("ID_1", "ID_32 (added, 20 real images)"):
        page.locator(".token", has_text=user).locator(".token-remove").click()
    set_number(page, "number input for Images per user", 2)
    set_number(page, "number input for Steps", 2)
    set_number(page, "Seed", 5)
    press(page, "Generate")
    expect(page.get_by_text("ID_2, seed 6", exact=True)).to_be_visible(timeout=WAIT_MS)
    assert captions(page) == ["ID_2, seed 5", "ID_2, seed 6"]
    expect(page.locator(".cm-content").first).to_contain_text("range(5, 7)")
    shown = [plain(shown_pixels(pictures(page).nth(number))) for number in range(2)]
    with page.expect_download() as download:
        page.get_by_text("Download images and metadata (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as pack:
        rows = [json.loads(line) for line in pack.read("metadata.jsonl").decode().splitlines()]
        drawn = [np.asarray(Image.open(BytesIO(pack.read(row["file_name"])))) for row in rows]
    assert [(row["user"], row["seed"]) for row in rows] == [("ID_2", 5), ("ID_2", 6)]
    np.testing.assert_array_equal(shown, drawn)


def test_a_dropped_spectrogram_is_measured_varied_and_refused_where_it_is_none(
    visit: Callable[..., Page], doppler_folder: Path, table: np.ndarray, tmp_path: Path
):
    mine = tmp_path / "mine.png"
    Image.fromarray(table[np.random.default_rng(0).integers(0, 256, (16, 16))]).save(mine)
    pipe = VQLDMDopplerPipeline.from_pretrained(doppler_folder)
    before = pipe.preprocess(Image.open(mine), 1)
    with torch.no_grad():
        after = pipe.decode(pipe.encode(before))
    rmse = float((after - (before + 1) / 2).square().mean().sqrt())
    page = visit()
    open_tab(page, "Vary")
    drop(page, "PNG or JPEG", mine)
    words = page.get_by_text(f"Root mean square error {100 * rmse:.2f} % of the colour scale, {60 * rmse:.2f} dB")
    expect(words).to_be_visible(timeout=WAIT_MS)
    np.testing.assert_array_equal(plain(shown_pixels(pictures(page).first)), np.asarray(Image.open(mine)))
    set_number(page, "number input for Images", 2)
    set_number(page, "number input for Steps", 2)
    press(page, "Make variations")
    expect(page.get_by_text("ID_10, seed 1", exact=True)).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("saw in its training: ID_10 unknown.")).to_be_visible()
    preview = page.locator(".picture img").locator("visible=true")
    np.testing.assert_array_equal(plain(shown_pixels(preview)), np.asarray(Image.open(mine)))
    Image.new("RGB", (20, 16)).save(tmp_path / "large.png")
    drop(page, "PNG or JPEG", tmp_path / "large.png")
    refusal = page.get_by_text("must be 16 x 16 pixels, the size of the model, without axes").first
    expect(refusal).to_be_visible(timeout=WAIT_MS)


def test_two_people_are_chosen_and_the_images_between_them_appear(visit: Callable[..., Page]):
    page = visit()
    open_tab(page, "From one to another")
    assert captions(page) == ["0 % ID_2", "50 % ID_2", "100 % ID_2"]  # before anything was pressed
    page.get_by_label("Last user").locator("visible=true").click()
    page.get_by_role("option", name="ID_10").click()
    set_number(page, "number input for Images with both ends", 2)
    set_number(page, "number input for Steps", 2)
    press(page, "Interpolate between the two users")
    expect(page.get_by_text("100 % ID_10", exact=True)).to_be_visible(timeout=WAIT_MS)
    assert captions(page) == ["0 % ID_10", "100 % ID_10"]
    expect(page.get_by_text("saw in its training: ID_1 61, ID_10 unknown.")).to_be_visible()


def test_the_classifier_answers_for_dropped_pictures(visit: Callable[..., Page], table: np.ndarray, tmp_path: Path):
    page = visit()
    open_tab(page, "Who walks?")
    expect(page.get_by_text("accuracy 92.5 % (88.0 to 96.0), calibration error (ECE) 3.1 %")).to_be_visible()
    expect(page.locator(".who")).to_have_count(3)  # examples, before anything was pressed
    paths = [tmp_path / f"walk_{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        Image.fromarray(table[np.random.default_rng(number).integers(0, 256, (16, 16))]).save(path)
    drop(page, "Spectrograms", *paths)
    expect(page.locator(".who")).to_have_count(4, timeout=WAIT_MS)
    shares = [float(one.removesuffix(" %")) for one in page.locator(".who").first.locator("em").all_inner_texts()]
    assert len(shares) == 4 and shares == sorted(shares, reverse=True) and abs(sum(shares) - 100) < 0.3
    Image.new("RGB", (16, 16), "white").save(paths[0])
    drop(page, "Spectrograms", paths[0])
    expect(page.get_by_text("walk_0.png: a picture must show a spectrogram").first).to_be_visible(timeout=WAIT_MS)


def test_the_report_shows_the_numbers_of_the_models_card(visit: Callable[..., Page]):
    page = visit()
    open_tab(page, "Did it help?")
    row = page.locator(".report table tr").nth(1).locator("td")
    expect(row).to_have_text(["5", "40.0 %", "50.0 %", "45.0 %", "53.0 %", "+3.0 points (+1.0 to +5.0)"])
    assert page.get_by_role("img", name="Accuracy on held-out recordings").locator("polyline").count() == 4


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two depth images, no two pixels alike, so that a lost bit would show."""
    folder = tmp_path_factory.mktemp("rooms")
    for number in range(2):
        depth_mm = 1000 + np.random.default_rng(number).permutation(1024).reshape(32, 32) * 3 + number
        depth_mm[:2, :2] = 0
        Image.fromarray(depth_mm.astype(np.uint16)).save(folder / f"hall_{number}.png")
    return sorted(folder.iterdir())


def test_all_sixteen_bits_of_every_dropped_file_can_be_read_under_the_pointer(
    visit: Callable[..., Page], depth_folder: Path, rooms: list[Path], tmp_path: Path
):
    expected: Any = DepthAutoencoderPipeline.from_pretrained(depth_folder)(rooms, batch_size=4)
    page = visit()
    open_tab(page, "Depth")
    drop(page, "16-bit", *rooms)
    expect(page.get_by_role("gridcell", name="hall_1.png").first).to_be_visible(timeout=WAIT_MS)
    cells = page.get_by_role("gridcell").all_inner_texts()
    numbers = [round(float(one[0]), 3) for one in (expected.rmse_mm, expected.mae_mm, expected.validity_iou)]
    assert cells[0].strip() == "hall_0.png" and [float(cell) for cell in cells[1:4]] == numbers
    for number, path in enumerate(rooms):
        before, after = np.asarray(Image.open(path)).astype(int), expected.depth[number].astype(int)
        for row, column in ((0, 0), (3, 29), (17, 5), (31, 31)):
            assert point_at(page, number, row, column) == words(row, column, before, after)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "eight.png")
    drop(page, "16-bit", tmp_path / "eight.png")
    expect(page.get_by_text("eight.png: depth must be 16-bit greyscale").first).to_be_visible(timeout=WAIT_MS)


def point_at(page: Page, number: int, row: int, column: int) -> str:
    """What stands under a 32x32 image when the pointer is over one of its pixels."""
    figure = page.locator(".readable figure").nth(number)
    figure.scroll_into_view_if_needed()
    box = figure.locator("img").nth(row % 3).bounding_box()  # input, reconstruction or error
    assert box is not None
    page.mouse.move(box["x"] + (column + 0.5) / 32 * box["width"], box["y"] + (row + 0.5) / 32 * box["height"])
    return figure.locator(".value").inner_text()


def words(row: int, column: int, before: np.ndarray, after: np.ndarray) -> str:
    was, found = before[row, column], after[row, column]
    said = [f"{one} mm" if one else "no reading" for one in (was, found)]
    error = f", error {found - was} mm" if was and found else ""
    return f"row {row}, column {column}: {said[0]}, reconstruction {said[1]}{error}"


def test_a_walk_between_two_depth_images_is_a_strip_and_moves(visit: Callable[..., Page]):
    page = visit()
    open_tab(page, "Depth")
    open_tab(page, "Between two images")
    before = page.locator("img[src$='.webp']").get_attribute("src")
    set_number(page, "number input for Number of images", 3)
    press(page, "Interpolate")
    expect(pictures(page)).to_have_count(3, timeout=WAIT_MS)
    expect(page.locator("img[src$='.webp']")).not_to_have_attribute("src", before or "", timeout=WAIT_MS)
    moving = page.locator("img[src$='.webp']")
    expect(moving).to_be_visible(timeout=WAIT_MS)
    source = moving.get_attribute("src")
    assert source is not None
    image = Image.open(BytesIO(page.request.get(source).body()))
    frames = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")))
    assert len(frames) == 2 * 8  # 3 of the strip with 3 between each, there and back
    strip = pictures(page).all()[-3:]
    for picture, frame in zip(strip, (frames[0], frames[4], frames[8]), strict=True):
        np.testing.assert_array_equal(shown_pixels(picture), frame)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_every_tab_fits_the_screen_in_light_and_dark(visit: Callable[..., Page], size: tuple[int, int], tmp_path: Path):
    page = visit(size)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name in TABS:
            open_tab(page, name)
            for picture in pictures(page).all():
                load(picture)
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name
            path = tmp_path / f"{scheme}_{name.partition(' ')[0]}.png"
            cut = page.evaluate(CUT)
            assert not cut, (name, cut)
            page.screenshot(path=path, full_page=True)
            with Image.open(path) as taken:
                assert taken.width == size[0]
                assert (np.median(np.asarray(taken.convert("L"))) < 64) == (scheme == "dark"), name
