"""`lstm report`: what the page says, that it loads nothing, and what is refused."""

from __future__ import annotations

import base64
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import (
    BROKEN,
    PICKED_BY,
    VARIANTS,
    features,
    needs,
    net_of,
    on_a_full_disk,
    only,
    put,
    saved,
    several,
)
from command_line import check_refusal, run, run_json
from support import DATA, assert_same_bits

import lstm
from lstm import LSTM, plot
from lstm.comparison import comparison
from lstm.comparison.comparison import Comparison
from lstm.comparison.page import pictures
from lstm.comparison.page.elements import element
from lstm.comparison.page.weights import Spread, gate_cards
from lstm.core.weights import Weights

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time each path once."""
    monkeypatch.setattr(comparison.compare_case, "__kwdefaults__", {"seconds": 0})


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures, which take long."""
    monkeypatch.setattr(pictures, "pictures", lambda net, sample: iter(()))


class Page(HTMLParser):
    """The tags, attributes and texts of a page whose elements are closed in order."""

    VOID = ("meta", "img", "source", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.style = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        elif data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def value(self, name: str) -> str:
        """What comes after a text."""
        return self.texts[self.texts.index(name) + 1]


def page_of(
    capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str | Path, status: int = 0
) -> Page:
    found, out, err = run(capsys, "report", *arguments, "-o", folder / "report.html")
    assert (found, err) == (status, ""), err
    assert out.startswith(f"{folder / 'report.html'}: LSTM(")
    page = Page(folder / "report.html")
    check_that_it_loads_nothing(page)
    return page


def check_that_it_loads_nothing(page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "a"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "srcset"):
            assert value.startswith("data:image/png;base64,"), value[:50]
        assert name not in ("href", "background", "action")
    assert not re.search(r"url\(|@import|expression|//", page.style)
    policy = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")]
    assert policy[0] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "prefers-color-scheme:dark" in page.style


def drawn_pictures(page: Page) -> list[bytes]:
    values = [value for _, name, value in page.attributes if name in ("src", "srcset")]
    return [base64.b64decode(value.partition(",")[2], validate=True) for value in values]


# What the page says


def test_a_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = saved(tmp_path)
    page = page_of(capsys, tmp_path, model)
    only(tmp_path, "net.npz", "report.html")
    assert page.value("LSTM report") == "net.npz"
    assert page.texts[page.texts.index("LSTM report") + 2] == "LSTM(3, 5, dtype=float32)"
    assert "✓ Native and NumPy agree in all 5 cases" in page.texts
    assert page.value("Format") == "NumPy’s .npz"
    assert page.value("Size").endswith(f"({model.stat().st_size:,} bytes)")
    assert page.value("Tensors") == "4, of 200 numbers"
    assert page.value("weight_ih_l0") == "20 × 3"
    assert page.value("Parameters") == "180"
    assert page.value("State of a row") == "40 bytes"
    assert page.value("Output, a step") == "5 features"
    assert page.value("dtype") == "float32"
    assert "a random one, 100 steps of standard normal numbers" in page.text
    assert page.value("Versions").startswith(f"lstm {lstm.__version__}, Python ")
    assert page.value("CPU")
    assert "1 row × 1 step" in page.texts
    assert "16 rows × 50 steps" in page.texts
    assert "Same bits: whole sequence, single steps, stream, chunks, batch rows alone" in page.text
    shown = drawn_pictures(page)
    assert len(shown) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in shown)
    assert shown[0] != shown[1]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant(capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str) -> None:
    net = net_of(variant)
    page = page_of(capsys, tmp_path, saved(tmp_path, variant))
    assert (
        page.value("Parameters")
        == f"{sum(a.size for n, a in net.state_dict().items() if 'bias_hh' not in n):,}"
    )
    assert page.value("bidirectional") == str(net.bidirectional)
    assert page.value("clip") == str(net.clip)
    # What is not the default is set in bold.
    bold = set(re.findall(r"<dt>(\w+)</dt><dd><strong>", page.source))
    assert bold == {*VARIANTS[variant]}
    assert (len(re.findall("<h4>", page.source)), page.source.count("peephole</dt>")) == (
        4 * net.num_layers * (1 + net.bidirectional),
        1 + 3 * net.peephole,
    )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_small_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path, precision: Any) -> None:
    net_of("deep").quantize(precision).save(tmp_path / "net.npz")
    page = page_of(capsys, tmp_path, tmp_path / "net.npz")
    assert f"<dt>precision</dt><dd><strong>{precision}</strong>" in page.source


@pytest.mark.usefixtures("undrawn")
def test_a_net_of_many_layers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It says what it leaves out."""
    LSTM(2, 3, 20, dtype=np.float32, rng=0).save(tmp_path / "net.npz")
    page = page_of(capsys, tmp_path, tmp_path / "net.npz")
    more = [text for text in page.texts if re.fullmatch("and .* more layers and directions", text)]
    # Of weights, and of pictures.
    assert more == ["and 12 more layers and directions", "and 16 more layers and directions"]
    assert "15 layers" in page.texts
    assert "All 80 tensors" in page.texts


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("ending", PICKED_BY)
def test_a_picked_net(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    path, nets = several(tmp_path, ending)
    for value, net in nets.items():
        option = f"--{PICKED_BY[ending]}"
        page = page_of(capsys, tmp_path, path, option, value)
        assert repr(net) in page.texts
        picks = re.findall(r'<li( class="this")?><code>(--\S+ [^<]+)</code>', page.source)
        assert {text for _, text in picks} == {f"{option} {name}" for name in nets}
        assert [text for is_this, text in picks if is_this] == [f"{option} {value}"]
    words = [PICKED_BY[ending], *nets]
    check_refusal(*run(capsys, "report", path, "-o", tmp_path / "other.html"), words)
    assert not (tmp_path / "other.html").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("path", "name"),
    [("keras/plain.weights.h5", "Keras"), ("onnx/dynamo_stack.onnx", "ONNX"), ("keras/plain.keras", "Keras")],
)
def test_notes_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, path: str, name: str) -> None:
    """Those that `lstm info` has."""
    needs("keras" if name == "Keras" else "onnx")
    _, report = run_json(capsys, "info", DATA / path)
    notes = report["lstms"][0]["notes"]
    assert bool(notes) is (path != "keras/plain.keras")
    page = page_of(capsys, tmp_path, DATA / path)
    assert [text for text in page.texts if text.startswith("Note: ")] == [f"Note: {note}" for note in notes]
    assert page.value("Format") == name


@pytest.mark.usefixtures("undrawn")
def test_options_of_the_loader(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **net_of("plain").state_dict())  # type: ignore[arg-type]
    options = ("--activations", "hardsigmoid,tanh,leakyrelu:0.25", "--reverse")
    page = page_of(capsys, tmp_path, tmp_path / "net.npz", *options)
    assert page.value("activations") == "HardSigmoid(0.2, 0.5), Tanh, LeakyRelu(0.25)"
    assert page.value("reverse") == "True"


# The sample


@pytest.mark.parametrize(
    ("shape", "seen", "words"),
    [
        ((9, 3), (1, 9), "X.npy: 9 steps of 3 features."),
        ((20, 7, 3), (16, 7), "X.npy: 7 steps of 3 features, 20 rows, of which the first one is drawn."),
        ((1, 701, 3), (1, 500), "X.npy: 701 steps of 3 features; only the first 500 steps are looked at."),
    ],
)
def test_a_sample(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: Any,
    seen: Any,
    words: str,
) -> None:
    """Its first rows and steps are compared, and its first row is drawn."""
    X, net = features(*shape), net_of("plain")
    gates, drawn = plot.gates, []

    def spy(trace: Any, X: Any, **options: Any) -> Any:
        drawn.append((trace, X, options))
        return gates(trace, X, **options)

    monkeypatch.setattr(plot, "gates", spy)
    model, path = saved(tmp_path), put(tmp_path / "X.npy", X)
    status, report = run_json(capsys, "report", model, path, "-o", tmp_path / "report.html")
    assert status == 0
    assert (report["rows"], report["steps"]) == seen
    assert (report["cases"], report["passed"], report["net"]) == (5, True, repr(net))
    assert report["bytes"] == (tmp_path / "report.html").stat().st_size
    page = Page(tmp_path / "report.html")
    check_that_it_loads_nothing(page)
    assert words in page.texts
    rows, steps = seen
    case = f"{rows} row{'s' * (rows > 1)} × {steps} steps"
    assert page.value("the sample:") == case
    first = X.reshape(-1, *shape[-2:])[0, :500].astype(np.float32)
    assert len(drawn) == 2
    for trace, shown, options in drawn:
        assert_same_bits(shown, first)
        assert_same_bits(trace.h, net.trace(first).h)
        assert options == {"layer": 0}


def test_every_layer_and_direction_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = page_of(capsys, tmp_path, saved(tmp_path, "bidirectional"))
    assert len(drawn_pictures(page)) == 8
    alternatives = [value for _, name, value in page.attributes if name == "alt"]
    assert [text.split(" of layer ")[1].split()[0] for text in alternatives] == [
        "l0",
        "l0_reverse",
        "l1",
        "l1_reverse",
    ]


def test_a_sample_with_nan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    X = features(9, 3)
    X[4, 1] = np.nan
    page = page_of(capsys, tmp_path, saved(tmp_path), put(tmp_path / "X.npy", X))
    assert re.search(r"NaN in \d+ native outputs", page.text)


# What differs


@pytest.mark.usefixtures("undrawn")
def test_a_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Comparison, "failures", property(lambda c: ["it is wrong"] if c.time == 9 else []))
    page = page_of(capsys, tmp_path, saved(tmp_path), status=1)
    assert "✗ Native and NumPy differ in 1 of 5 cases" in page.texts
    assert "I=3 H=5 B=5 T=9 float32: it is wrong" in page.texts
    assert (page.texts.count("FAILED"), page.texts.count("ok")) == (1, 4)
    status, out, _ = run(capsys, "report", tmp_path / "net.npz", "-o", tmp_path / "report.html")
    assert status == 1
    assert "1 of 5 cases FAILED" in out


# Strangers' files

HOSTILE = {
    "prefix": '</code><script>alert(1)</script>"><img src=x onerror=alert(2)>',
    "tensor": "head<script src=//evil.example></script>'\"&\u202e\x00\n",
    "file": "<b onmouseover=alert(3)>&amp;$x$'\"\u202e.safetensors",
}


def test_what_becomes_html() -> None:
    """Text is escaped where it stands, and in attributes."""
    text = """</p>"'&<script>"""
    escaped = "&lt;/p&gt;&quot;&#x27;&amp;&lt;script&gt;"
    assert element("p", text, element("b", text)) == f"<p>{escaped}<b>{escaped}</b></p>"
    assert element("img", alt=text) == f'<img alt="{escaped}">'
    assert element("p", f"{element('b')}") == "<p>&lt;b&gt;&lt;/b&gt;</p>"


@pytest.mark.usefixtures("undrawn")
def test_names_are_no_html(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A page of hostile names has the elements and attributes of one of harmless names."""
    needs("safetensors")
    from safetensors.numpy import save_file

    pages = []
    for prefix, tensor, file in (("a", "b", "c.safetensors"), tuple(HOSTILE.values())):
        arrays = {f"{prefix}.{name}": array for name, array in net_of("plain").state_dict().items()}
        arrays |= {f"second.{name}": array for name, array in net_of("plain").state_dict().items()}
        save_file({**arrays, tensor: np.ones(2, np.float32)}, tmp_path / file)
        pages.append(page_of(capsys, tmp_path, tmp_path / file, "--prefix", prefix))
    harmless, hostile = pages
    assert hostile.tags == harmless.tags
    assert {one[:2] for one in hostile.attributes} == {one[:2] for one in harmless.attributes}
    assert f"--prefix {HOSTILE['prefix']}" in hostile.texts
    # Control characters and those that turn the writing around are written out.
    assert not {"\u202e", "\x00"} & set(hostile.source)
    assert ascii(HOSTILE["tensor"]) in hostile.texts
    assert hostile.value("LSTM report") == ascii(HOSTILE["file"])


def test_a_name_that_is_no_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file's name may have bytes that are no UTF-8."""
    model = tmp_path / os.fsdecode(b"n\xff.npz")
    try:
        net_of("plain").save(model)
    except OSError:
        pytest.skip("this system has no such names")
    page = page_of(capsys, tmp_path, model)
    assert page.value("LSTM report") == ascii(model.name)


# The weights


def test_how_weights_are_spread() -> None:
    spread = Spread.of(np.array([1.0, -3.0, np.nan, np.inf, 2.0]))
    assert spread == (0.0, pytest.approx(np.sqrt(14 / 3)), 3.0, 2)
    nothing = Spread.of(np.array([np.nan, np.nan]))
    assert np.isnan(nothing[:2]).all()
    assert nothing[2:] == (0.0, 2)


def weights_of(fill: float, dtype: Any = np.float64) -> Weights:
    return Weights(*(np.full(shape, fill, dtype) for shape in ((4, 3, 2), (4, 3, 3), (4, 3))))


@pytest.mark.parametrize("fill", [0.0, 5e-324, 1.7e308, np.nan, np.inf, -1.0])
def test_weights_of_any_values(fill: float) -> None:
    """Zeros, the smallest and the largest, and none that can be drawn."""
    cards = gate_cards(weights_of(fill), True)
    assert cards.count("<svg") == 4
    assert ("not finite" in cards) is (not np.isfinite(fill))
    assert not re.search(r'd="[^"]*(nan|inf)', cards)


def test_bars_are_counts_of_weights() -> None:
    """Of each gate its own: W_x in bars, W_h in a line."""
    weights = weights_of(0.0)
    weights.input[0] = np.linspace(-1, 1, 6).reshape(3, 2)
    weights.hidden[1] = 1
    weights.bias[2] = 0.25
    cards = gate_cards(weights, True).split('<div class="card')[1:]
    assert [re.search(r"gate-(\w)", card)[1] for card in cards] == ["i", "f", "g", "o"]  # type: ignore[index]
    bars = [re.search(r'd="([^"]*)" class="bars"', card)[1] for card in cards]  # type: ignore[index]
    assert [len(re.findall("M", one)) for one in bars] == [6, 1, 1, 1]
    assert all("σ 0.00" in card for card in cards[1:])
    assert ["largest</dt><dd>1.00" in card for card in cards] == [True, True, False, False]
    assert ["0.25 ± 0" in card for card in cards] == [False, False, True, False]


# What is refused


def test_without_matplotlib(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(comparison, "compare_case", lambda case: pytest.fail("it was compared"))
    words = ["lstm report needs matplotlib", 'pip install "lstm-native[plot]"']
    check_refusal(*run(capsys, "report", saved(tmp_path), "-o", tmp_path / "report.html"), words)
    only(tmp_path, "net.npz")


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.ones((4, 5)), ["X.npy", "X has 5 features a step", "input_size=3"]),
        (np.ones(3), ["X.npy", "shape (3,)"]),
        (np.ones((0, 3)), ["X.npy", "(0, 3)", "no steps"]),
        (np.ones((0, 4, 3)), ["X.npy", "(0, 4, 3)", "no steps"]),
        (np.ones((4, 3), complex), ["X.npy", "c16"]),
    ],
)
def test_samples_that_do_not_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, X: np.ndarray, words: list[str]
) -> None:
    check_kept(capsys, tmp_path, words, saved(tmp_path), put(tmp_path / "X.npy", X))


@pytest.mark.parametrize("case", ["empty", "cut in the data", "terabytes", "pickled objects"])
def test_broken_samples(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    (tmp_path / "X.npy").write_bytes(BROKEN[case])
    check_kept(capsys, tmp_path, ["X.npy"], saved(tmp_path), tmp_path / "X.npy")


def check_kept(
    capsys: pytest.CaptureFixture[str], folder: Path, words: list[str], *arguments: str | Path
) -> None:
    """That it is refused, and an older page stays as it was."""
    page = folder / "report.html"
    page.write_bytes(b"as it was")
    before = sorted(os.listdir(folder))
    check_refusal(*run(capsys, "report", *arguments, "-o", page), words)
    assert page.read_bytes() == b"as it was"
    assert sorted(os.listdir(folder)) == before


def test_files_that_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = saved(tmp_path)
    check_kept(capsys, tmp_path, ["absent.npz", "No such file"], tmp_path / "absent.npz")
    check_kept(capsys, tmp_path, ["X.npy", "No such file"], model, tmp_path / "X.npy")
    (tmp_path / "bad.npz").write_bytes(model.read_bytes()[:-40])
    check_kept(capsys, tmp_path, ["bad.npz"], tmp_path / "bad.npz")
    check_kept(capsys, tmp_path, ["report", "--help"], model, model, model)
    for output, words in (
        ("page.pdf", ["page.pdf", ".html"]),
        ("net.npz", ["net.npz", ".html"]),
        ("folder.html", ["Is a directory"]),
        ("link.html", ["would take the place of", "net.npz"]),
        ("absent/page.html", ["absent/page.html", "No such file"]),
    ):
        if output == "folder.html":
            (tmp_path / output).mkdir()
        if output == "link.html":
            (tmp_path / output).symlink_to(model)
        check_refusal(*run(capsys, "report", model, "-o", tmp_path / output), words)
    check_refusal(*run(capsys, "report", model), ["-o"])
    assert lstm.load(model).hidden_size == 5


# How it is written


@pytest.mark.usefixtures("undrawn")
def test_it_takes_the_place_of_an_older_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "real.html"
    page.write_bytes(b"older" * 100_000)
    page.chmod(0o600)
    (tmp_path / "report.html").symlink_to(page)
    page_of(capsys, tmp_path, saved(tmp_path))
    assert (tmp_path / "report.html").is_symlink()
    assert page.stat().st_mode & 0o777 == 0o600
    assert page.read_bytes().endswith(b"</html>\n")


@pytest.mark.usefixtures("undrawn")
def test_ctrl_c_leaves_an_older_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path)
    (tmp_path / "report.html").write_bytes(b"as it was")

    def interrupt(case: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "compare_case", interrupt)
    status, out, err = run(capsys, "report", model, "-o", tmp_path / "report.html")
    assert (status, out, err) == (130, "", "")
    assert (tmp_path / "report.html").read_bytes() == b"as it was"
    only(tmp_path, "net.npz", "report.html")


def test_a_full_disk_leaves_an_older_page(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "report.html").write_bytes(b"as it was")
    done = on_a_full_disk(tmp_path, "report", "net.npz", "-o", "report.html")
    check_refusal(done.returncode, done.stdout, done.stderr, ["report.html", "File too large"])
    assert (tmp_path / "report.html").read_bytes() == b"as it was"
    only(tmp_path, "net.npz", "report.html")
