"""Calibration statistics: exact, independent of order and shards, and readable again from JSON."""

import json

import numpy as np
import pytest
from bitlite.converter.errors import DataError, OutputError
from bitlite.quant.calibrate.histogram import Histogram, load_dist, save_dist
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SAMPLES = st.lists(
    arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e5, 1e5, width=32)), min_size=1, max_size=6
)


def seen(parts, **options):
    h = Histogram(512)
    for part in parts:
        h.add(part, **options)
    return h


def same(a, b):
    return (a.exponent, a.base, a.zeros, a.low, a.high) == (
        b.exponent,
        b.base,
        b.zeros,
        b.low,
        b.high,
    ) and np.array_equal(a.counts, b.counts)


@given(SAMPLES)
@example([np.array([1.0], np.float32), np.array([0.0, -3.7767752e-33], np.float32)])
def test_counts_are_those_of_one_histogram_over_everything(parts):
    h, x = seen(parts), np.concatenate(parts).astype(np.float64)
    assert (h.low, h.high, h.count, h.zeros) == (x.min(), x.max(), x.size, int((x == 0).sum()))
    assert 1 <= len(h.counts) <= 512
    counted, _ = np.histogram(np.floor(x / h.width), np.arange(h.base, h.base + len(h.counts) + 1) - 0.5)
    np.testing.assert_array_equal(h.counts, counted)


@given(SAMPLES, st.randoms(use_true_random=False), st.data())
def test_order_and_shards_do_not_matter(parts, random, data):
    whole = seen(parts)
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert same(whole, seen(shuffled))
    cut = data.draw(st.integers(0, len(parts)))
    first, second = seen(parts[:cut]), seen(parts[cut:])
    first.merge(second)
    assert same(whole, first)
    assert first.sample_low == whole.sample_low
    assert first.sample_tail_high == whole.sample_tail_high


@given(SAMPLES)
@settings(max_examples=30)
def test_bins_are_no_wider_than_needed(parts):
    h = seen(parts)
    if h.high - h.low > 1e-3 * max(abs(h.low), abs(h.high)):
        assert len(h.counts) > 512 // 2 - 2


def test_widening_keeps_what_was_counted():
    h = seen([np.float32([1.0, 1.5, 2.0])])
    fine = h.width
    h.add(np.float32([1e6]))
    assert h.width > 1000 * fine
    assert h.count == 4
    assert h.counts[0] == 3


def test_samples_keep_their_extremes_and_channels_their_sums():
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    h = seen([x, -x], channels=True)
    assert list(h.sample_low) == [0, -23]
    assert list(h.sample_high) == [23, 0]
    np.testing.assert_array_equal(h.channel_sum, [0, 0, 0])
    assert h.channel_count == 16
    np.testing.assert_array_equal(seen([x], channels=True).channel_sum, x.sum((0, 1)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.float16, np.float64])
def test_any_real_type_is_counted(dtype):
    h = seen([np.array([0, 1, 5, 100], dtype)])
    assert (h.low, h.high, h.count, h.zeros) == (0, 100, 4, 1)


def test_extremes_of_float32_fit():
    tiny, huge = np.float32(1e-45), np.finfo(np.float32).max
    h = seen([np.array([tiny, -tiny, huge, -huge, 0], np.float32)])
    assert h.count == 5
    assert h.high == huge
    assert seen([np.array([tiny, 2 * tiny])]).count == 2


def test_zeros_alone_and_nothing_at_all():
    h = seen([np.zeros(7, np.float32)])
    assert (h.low, h.high, h.count, h.zeros, h.quantile(0.5)) == (0, 0, 7, 7, 0)
    h.add(np.float32([3]))
    assert (h.count, h.zeros, h.high) == (8, 7, 3)
    empty = seen([np.zeros((0, 3), np.float32)])
    assert empty.count == 0
    empty.merge(h)
    assert same(empty, h)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(bad):
    with pytest.raises(DataError, match="1 of 3 values"):
        seen([np.float32([1, bad, 2])])


def test_quantiles_are_close_to_the_sorted_ones():
    x = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    h = Histogram(4096)
    h.add(x)
    for p in (1e-4, 0.01, 0.3, 0.5, 0.99, 0.9999):
        assert abs(h.quantile(p) - np.quantile(x, p)) <= 0.05 if p in (1e-4, 0.9999) else 0.005
    assert h.quantile(0) >= h.low
    assert h.quantile(1) == h.high


def test_different_bins_or_channels_do_not_add_up():
    with pytest.raises(ValueError, match="512 and 1024"):
        Histogram(512).merge(Histogram(1024))
    with pytest.raises(ValueError, match="2 and 3 channels"):
        seen([np.zeros((4, 2)), np.zeros((4, 3))], channels=True)
    with pytest.raises(ValueError, match=r"512\.\.4096"):
        Histogram(100)


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(1)
    tensors = {"a:0": seen([rng.normal(size=50), rng.normal(size=60)]), "b": seen([rng.random((5, 4))], channels=True)}
    path = tmp_path / "dist.json"
    save_dist(path, tensors)
    return path, tensors


def test_saved_statistics_come_back(saved):
    path, tensors = saved
    back = load_dist(path, tensors)
    for name, h in tensors.items():
        assert same(back[name], h)
        assert back[name].sample_tail_low == h.sample_tail_low
    np.testing.assert_array_equal(back["b"].channel_sum, tensors["b"].channel_sum)
    assert not list(path.parent.glob("*.part"))


def test_another_model_is_an_error(saved):
    path, _ = saved
    with pytest.raises(DataError, match="lacks c"):
        load_dist(path, ["a:0", "b", "c"])
    with pytest.raises(DataError, match="has b, which the model has not"):
        load_dist(path, ["a:0"])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"counts": [-1, 2]}, "counts"),
        ({"counts": "many"}, "invalid literal"),
        ({"min": 5, "max": 1}, "no range"),
        ({"bins": 7}, "7 histogram bins"),
        ({"range": [2, 1]}, "empty"),
        ({"rang": [1, 2]}, "unknown key 'rang'"),
        ({"sample_low": [0.0]}, "different lengths"),
        ({"exponent": 5000}, "2^5000"),
        ({"counts": None}, "tensor a:0"),
    ],
)
def test_broken_edits_are_named(saved, edit, said):
    path, _ = saved
    content = json.loads(path.read_text())
    content["tensors"]["a:0"].update(edit)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        load_dist(path)
    assert said in str(caught.value)


def test_a_range_set_by_hand_is_kept(saved):
    path, _ = saved
    path.write_text(path.read_text().replace('"range": null', '"range": [-1, 2.5]', 1))
    assert load_dist(path)["a:0"].fixed == (-1.0, 2.5)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"bitlite_statistics": 2}', '{"bitlite_statistics": 1, "tensors": []}']
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        load_dist(path)


def test_missing_files_and_folders_are_said(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        load_dist(tmp_path / "none.json")
    with pytest.raises(OutputError, match="does not exist"):
        save_dist(tmp_path / "no" / "dist.json", {})


def test_a_full_disk_leaves_no_half_of_a_table(tmp_path, monkeypatch):
    from bitlite.quant.ptq.quality import save_tables

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match="No space"):
        save_tables(str(tmp_path / "info"), [{"layer": "a"}])
    assert not list((tmp_path / "info").iterdir())


@pytest.mark.parametrize(("text", "what"), [("[" * 100_000, "is not JSON"), ("{", "is not JSON")])
def test_what_is_no_json_is_said(tmp_path, text, what):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DataError, match=what):
        load_dist(tmp_path / "d.json")
