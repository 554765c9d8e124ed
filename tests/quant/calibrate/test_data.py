"""Calibration data: every source gives the same samples, and what does not fit is said before any work."""

import os

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.quant.calibrate.data import Dataset, DataSpec, InputSpec
from bitlite.quant.calibrate.images import ImageSpec
from bitlite.tools.options.read import options_of_args, options_of_kwargs
from bitlite.tools.options.samples import data_spec

X = InputSpec("x", (1, 4, 5, 3), np.dtype(np.float32), "NHWC")
Y = InputSpec("y", ("batch", 2), np.dtype(np.int32))


@pytest.fixture
def samples():
    return np.random.default_rng(0).normal(size=(6, 4, 5, 3)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, samples):
    """A directory of .bin files, written in an order that is not that of their names."""
    path = tmp_path / "bins"
    path.mkdir()
    for i in (4, 0, 5, 2, 1, 3):
        samples[i].tofile(path / f"{i}.bin")
    return path


def arrays(dataset, name="x"):
    return np.concatenate([sample[name] for sample in dataset])


def refusal(spec, inputs=(X,)):
    with pytest.raises(DataError) as caught:
        list(Dataset(spec, inputs))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_directory_is_read_in_the_order_of_names(folder, samples):
    dataset = Dataset(DataSpec({"x": str(folder)}), [X])
    assert len(dataset) == 6
    np.testing.assert_array_equal(arrays(dataset), samples)
    np.testing.assert_array_equal(arrays(dataset), samples)


def test_order_is_bytewise_and_hidden_files_are_left_out(tmp_path):
    for i, name in enumerate(["B.bin", "a.bin", "é.bin", "10.bin", "9.bin"]):
        np.full((4, 5, 3), i, np.float32).tofile(tmp_path / name)
    (tmp_path / ".hidden").write_bytes(b"x")
    order = [int(sample["x"][0, 0, 0, 0]) for sample in Dataset(DataSpec({0: str(tmp_path)}), [X])]
    assert order == [3, 4, 0, 1, 2]


def sources(tmp_path, samples):
    np.save(tmp_path / "stack.npy", samples)
    np.savez(tmp_path / "plain.npz", x=samples)
    np.savez_compressed(tmp_path / "packed.npz", anything=samples)
    single = tmp_path / "single"
    single.mkdir()
    for i, sample in enumerate(samples):
        np.save(single / f"{i}.npy", sample[None] if i % 2 else sample)
    return {
        "npy": DataSpec({0: str(tmp_path / "stack.npy")}),
        "npz": DataSpec({0: str(tmp_path / "plain.npz")}),
        "packed": DataSpec({0: str(tmp_path / "packed.npz")}),
        "npy files": DataSpec({0: str(single)}),
        "array": DataSpec(source=samples),
        "dict of arrays": DataSpec(source={"x": samples}),
        "list": DataSpec(source=list(samples)),
        "list of lists": DataSpec(source=[[sample] for sample in samples]),
        "list of dicts": DataSpec(source=[{"x": sample[None]} for sample in samples]),
        "float64": DataSpec(source=samples.astype(np.float64)),
        "flat": DataSpec(source=[sample.ravel() for sample in samples]),
        "generator": DataSpec(source=(sample for sample in samples)),
        "function": DataSpec(source=lambda: ([sample[None]] for sample in samples)),
        "fortran": DataSpec(source=[np.asfortranarray(sample) for sample in samples]),
    }


def test_every_source_gives_the_same_samples_twice(tmp_path, samples):
    for name, spec in sources(tmp_path, samples).items():
        dataset = Dataset(spec, [X])
        for _ in range(2):
            got = list(dataset)
            assert all(s["x"].shape == (1, 4, 5, 3) and s["x"].dtype == np.float32 for s in got), name
            np.testing.assert_array_equal(np.concatenate([s["x"] for s in got]), samples, err_msg=name)
        assert len(dataset) == 6, name


def test_count_cuts_every_source(tmp_path, samples):
    for name, spec in sources(tmp_path, samples).items():
        cut = Dataset(DataSpec(spec.paths, spec.source, count=2), [X])
        assert len(cut) == 2, name
        np.testing.assert_array_equal(arrays(cut), samples[:2], err_msg=name)


def test_chosen_samples_come_in_order(samples):
    chosen = list(Dataset(DataSpec(source=samples), [X]).only([4, 1]))
    np.testing.assert_array_equal(np.concatenate([s["x"] for s in chosen]), samples[[1, 4]])


def test_only_the_files_of_chosen_samples_are_read(samples, tmp_path, monkeypatch):
    from bitlite.quant.calibrate.data_files import FileFormat

    np.save(tmp_path / "a.npy", samples[:2])
    np.save(tmp_path / "b.npy", samples[2:3])
    np.save(tmp_path / "c.npy", samples[3:])
    data = Dataset(DataSpec({0: str(tmp_path)}, count=5), [X])
    read, of = [], FileFormat.read_rows
    monkeypatch.setattr(
        FileFormat, "read_rows", lambda self, file, rows: read.append(file[-5:]) or of(self, file, rows)
    )
    np.testing.assert_array_equal(np.concatenate([s["x"] for s in data.only([1, 3])]), samples[[1, 3]])
    assert read == ["a.npy", "c.npy"]
    assert len(list(data.only(range(5)))) == 5


def test_batches_join_samples(samples):
    sizes = [batch["x"].shape for batch in Dataset(DataSpec(source=samples), [X]).batches(4)]
    assert sizes == [(4, 4, 5, 3), (2, 4, 5, 3)]


def test_a_model_with_a_batch_takes_several_samples_a_time(samples):
    item = InputSpec("x", (2, 4, 5, 3), np.dtype(np.float32))
    got = list(Dataset(DataSpec(source=samples), [item]))
    assert [s["x"].shape for s in got] == [(2, 4, 5, 3)] * 3


def test_raw_files_of_any_dtype(tmp_path):
    values = np.array([[3, -4]], np.int32)
    values.tofile(tmp_path / "0.bin")
    got = next(iter(Dataset(DataSpec({0: str(tmp_path)}), [Y])))["y"]
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, values)


def two_folders(tmp_path, first=3, second=3, stem="{}"):
    for name, item, count in (("a", X, first), ("b", Y, second)):
        (tmp_path / name).mkdir()
        for i in range(count):
            shape = item.fixed_shape
            np.full(shape, i, item.dtype).tofile(tmp_path / name / (stem.format(i) + ".bin"))
    return {"x": str(tmp_path / "a"), "y": str(tmp_path / "b")}


def test_several_inputs_are_paired_by_name(tmp_path):
    paths = two_folders(tmp_path)
    for spec in (DataSpec(paths), DataSpec({0: paths["x"], 1: paths["y"]})):
        got = [(s["x"].flat[0], s["y"].flat[0]) for s in Dataset(spec, [X, Y])]
        assert got == [(0, 0), (1, 1), (2, 2)]


def test_a_missing_sample_of_one_input_is_found(tmp_path):
    paths = two_folders(tmp_path)
    os.rename(os.path.join(paths["y"], "0.bin"), os.path.join(paths["y"], "9.bin"))
    assert "sample 0 pairs" in refusal(DataSpec(paths), (X, Y))


def test_different_counts_of_two_inputs(tmp_path):
    line = refusal(DataSpec(two_folders(tmp_path, 3, 2)), (X, Y))
    assert "3 samples for input 'x'" in line and "2 for 'y'" in line


def test_one_archive_may_hold_every_input(tmp_path, samples):
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=samples[i], y=np.array([i, i], np.int32))
    got = list(Dataset(DataSpec({0: str(tmp_path)}), [X, Y]))
    assert [s["y"].tolist() for s in got] == [[[0, 0]], [[1, 1]], [[2, 2]]]


def test_names_of_inputs(folder):
    image = InputSpec("image:0", X.shape, X.dtype)
    assert "'image_0' is not an input of the model; its inputs are 'image:0'; try image:0" in refusal(
        DataSpec({"image_0": str(folder)}), (image,)
    )
    assert "nothing is given for input 'y'" in refusal(DataSpec({"x": str(folder)}), (X, Y))
    assert "2 directories and 1 input(s)" in refusal(DataSpec({0: str(folder), 1: str(folder)}))


def test_paths(tmp_path):
    where = "config.cfg:7 calibrate_path"
    missing = refusal(DataSpec({0: str(tmp_path / "none")}, where=where))
    assert missing.startswith(where) and "No such file" in missing
    assert "holds no files" in refusal(DataSpec({0: str(tmp_path)}))
    (tmp_path / "class").mkdir()
    assert "1 folders" in refusal(DataSpec({0: str(tmp_path)}))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda a: a.tobytes()[:-4], "file_size: 236 input 'x' tensor size: 240 bytes (float32 [1,4,5,3])"),
        (lambda a: a.tobytes() * 2, "2 samples in one"),
        (lambda a: a.astype(np.uint8).tobytes(), "8-bit integers"),
        (lambda a: a.astype(np.float64).tobytes(), "float64"),
        (lambda a: a.tobytes() * 3, "3 samples in one"),
        (lambda a: b"", "file_size: 0"),
        (lambda a: np.full_like(a, np.nan).tobytes(), "60 value(s) are NaN or infinite, the first (nan) at [0,0,0,0]"),
    ],
)
def test_a_wrong_file_is_named(folder, samples, make, words):
    (folder / "3.bin").write_bytes(make(samples[3]))
    line = refusal(DataSpec({0: str(folder)}))
    assert "3.bin" in line and words in line


def test_sizes_are_checked_before_any_sample_is_given(folder):
    (folder / "5.bin").write_bytes(b"x")
    with pytest.raises(DataError):
        Dataset(DataSpec({0: str(folder)}), [X])


def test_fewer_files_than_asked(folder):
    assert "calibrate_size=6" in refusal(DataSpec({0: str(folder)}, count=7, strict=True))
    relaxed = Dataset(DataSpec({0: str(folder)}, count=7), [X])
    assert len(relaxed) == 6 and "7 samples are asked for" in relaxed.notes[0]


def test_free_sizes_need_a_shape(folder):
    free = InputSpec("x", (1, "h", "w", 3), np.dtype(np.float32))
    assert "try input_shape='x:...'" in refusal(DataSpec({0: str(folder)}), (free,))
    got = next(iter(Dataset(DataSpec(source=[np.ones((1, 8, 9, 3))]), [free])))
    assert got["x"].shape == (1, 8, 9, 3)


@pytest.mark.parametrize(
    "sample, words",
    [
        (np.ones((4, 4, 3)), "[4,4,3] does not fit the input 'x' float32 [1,4,5,3]"),
        ({"z": np.ones((4, 5, 3))}, "'z' is not an input"),
        ({}, "'x' is missing"),
        ("text", "not numbers"),
        (np.array([None]), "not numbers"),
        (np.full((4, 5, 3), np.inf), "infinite"),
        (np.full((4, 5, 3), 1e39), "too large for float32"),
    ],
)
def test_wrong_samples_from_python(sample, words):
    line = refusal(DataSpec(source=[np.ones((4, 5, 3)), sample]))
    assert "sample 1" in line and words in line


@pytest.mark.parametrize(
    "source, words", [(3, "int"), ([], "no samples"), (lambda: None, "NoneType"), (list, "no samples")]
)
def test_wrong_sources_from_python(source, words):
    assert words in refusal(DataSpec(source=source))


@pytest.mark.parametrize(
    "value, words", [(1.5, "whole"), (2.0**31, "do not fit int32"), (-(2.0**40), "do not fit int32")]
)
def test_integers_are_not_rounded_silently(value, words):
    assert words in refusal(DataSpec(source=[np.full((1, 2), value)]), (Y,))


def test_damaged_archives_and_arrays(tmp_path, samples):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=samples)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "a.npz" in refusal(DataSpec({0: str(path)}))
    path.write_bytes(whole[:200] + bytes(40) + whole[240:])
    assert "a.npz" in refusal(DataSpec({0: str(path)}))
    stack = tmp_path / "s.npy"
    np.save(stack, samples)
    stack.write_bytes(stack.read_bytes()[:-8])
    assert "is cut off: 8 bytes of float32 [6,4,5,3] are missing" in refusal(DataSpec({0: str(stack)}))
    objects = tmp_path / "o.npy"
    np.save(objects, np.array([{}], object), allow_pickle=True)
    assert "o.npy" in refusal(DataSpec({0: str(objects)}))


def test_options_make_a_spec(folder):
    options = options_of_args(["--modelFile=m.onnx", "--outputFile=m", "--quantType=PostTraining",
                                        f"--calibratePath=x:{folder}", "--calibrateSize=4"])  # fmt: skip
    assert len(Dataset(data_spec(options), [X])) == 4
    options = options_of_kwargs("m.onnx", "m", quant_type="PostTraining", calibration_data=str(folder))
    assert len(Dataset(data_spec(options), [X])) == 6


def test_one_shot_iterators_do_not_stay_in_memory(samples):
    import tracemalloc

    item = InputSpec("x", (1, 256, 256), np.dtype(np.float32))

    def peak(count):
        tracemalloc.start()
        dataset = Dataset(
            DataSpec(source=(np.full((256, 256), i, np.float32) for i in range(count)), count=1000), [item]
        )
        total = sum(float(sample["x"][0, 0, 0]) for sample in dataset)
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == sum(range(count))
        return top

    assert peak(64) < 1.3 * peak(8) + 1e5


TURNED = InputSpec("x", (1, 4, 5, 3), np.dtype(np.float32), "NHWC", "NCHW")


def test_samples_in_the_files_layout_are_turned_to_the_graphs(folder, samples):
    got = arrays(Dataset(DataSpec({0: str(folder)}), [TURNED]))
    np.testing.assert_array_equal(got, samples.transpose(0, 3, 1, 2))
    assert "tensor size: 240 bytes" in refusal_of_short_file(folder)


def refusal_of_short_file(folder):
    (folder / "0.bin").write_bytes(b"")
    return refusal(DataSpec({0: str(folder)}), (TURNED,))


def test_arrays_in_either_layout_are_understood_by_their_shape(samples):
    planar = samples.transpose(0, 3, 1, 2)
    for source in (samples, planar, list(planar), [{"x": array[None]} for array in samples]):
        np.testing.assert_array_equal(arrays(Dataset(DataSpec(source=source), [TURNED])), planar)


def test_images_in_a_directory(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    rgb = Dataset(DataSpec({0: str(tmp_path)}, image=ImageSpec("RGB")), [X])
    np.testing.assert_array_equal(arrays(rgb), pixels.astype(np.float32))
    bgr = Dataset(DataSpec({0: str(tmp_path)}), [X])
    np.testing.assert_array_equal(arrays(bgr), pixels[..., ::-1].astype(np.float32))
    planar = InputSpec("x", (1, 3, 4, 5), np.dtype(np.uint8), "NCHW")
    np.testing.assert_array_equal(
        arrays(Dataset(DataSpec({0: str(tmp_path)}, image=ImageSpec("RGB")), [planar])), pixels.transpose(0, 3, 1, 2)
    )
    np.testing.assert_array_equal(
        arrays(Dataset(DataSpec({0: str(tmp_path)}, image=ImageSpec("RGB")), [TURNED])),
        pixels.transpose(0, 3, 1, 2).astype(np.float32),
    )
    wide = InputSpec("x", (1, 8, 8, 3), np.dtype(np.float32), "NHWC")
    assert "resize_width=8 and resize_height=8" in refusal(DataSpec({0: str(tmp_path)}), (wide,))
    assert "image_to_format=RGB" in refusal(DataSpec({0: str(tmp_path)}, image=ImageSpec("GRAY")))
    assert "input_type=IMAGE" in refusal(DataSpec({0: str(tmp_path)}, input_type="BIN"))
    (tmp_path / "notes.txt").write_text("hello")
    assert "notes.txt is not an image" in refusal(DataSpec({0: str(tmp_path)}))
    os.unlink(tmp_path / "notes.txt")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    assert "1.png: cannot be read as an image" in refusal(DataSpec({0: str(tmp_path)}))


def test_mutated_files_give_samples_or_one_line_of_error(tmp_path, samples):
    import random

    np.save(tmp_path / "a.npy", samples[:2])
    np.savez(tmp_path / "b.npz", x=samples[:2])
    np.savez_compressed(tmp_path / "c.npz", x=samples[:2])
    seeds = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    chance = random.Random(4)
    for _ in range(600):
        path = chance.choice(sorted(seeds))
        data = bytearray(seeds[path])
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data) or 1)
            data[at : at + 4] = chance.randbytes(chance.choice([0, 1, 4])) if chance.random() < 0.9 else b""
        path.write_bytes(data)
        try:
            assert all(sample["x"].shape == (1, 4, 5, 3) for sample in Dataset(DataSpec({0: str(path)}), [X]))
        except DataError as error:
            assert "\n" not in str(error)


def test_a_header_of_sizes_below_zero_and_a_loop_of_links_are_named(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 64), }"
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    item = InputSpec("x", (1, 64), np.float32)
    with pytest.raises(DataError, match=r"a\.npy: is not a numpy array: shape \[-1,64\]"):
        Dataset(DataSpec({0: str(tmp_path)}), [item])
    (tmp_path / "a.npy").unlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop: Too many levels of symbolic links"):
        Dataset(DataSpec({0: str(tmp_path)}), [item])


def test_nothing_behind_the_last_wanted_sample_of_an_archive_is_read(tmp_path, monkeypatch):
    from bitlite.quant.calibrate import data_files

    taken = []
    fit = data_files.fit
    monkeypatch.setattr(data_files, "fit", lambda *args: taken.append(1) or fit(*args))
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 4), np.float32))
    dataset = Dataset(DataSpec({0: str(tmp_path)}, count=3), [InputSpec("x", (1, 4), np.float32)])
    assert len(list(dataset)) == 3 and len(taken) <= 4
    taken.clear()
    assert len(list(dataset.only([0, 2]))) == 2 and len(taken) <= 3


SAMPLE = np.arange(4, dtype=np.float32).reshape(1, 4)


class Reader:
    """As onnxruntime's CalibrationDataReader."""

    def __init__(self, samples):
        self._samples = iter(samples)

    def get_next(self):
        return next(self._samples, None)


class ByNumber:
    """As torch's Dataset: samples by number, which no end of a loop is told of."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def __getitem__(self, number):
        return (SAMPLE, number) if number < self._count else (SAMPLE + 1, number)


class Tensor:
    """As torch's: no array while it has a gradient."""

    shape, dtype = (1, 4), "float32"

    def __array__(self, *args, **kwargs):
        raise TypeError("has a gradient")

    def detach(self):
        return self

    def cpu(self):
        return SAMPLE


class MindTensor:
    """As MindSpore's."""

    shape, dtype = (1, 4), "Float32"

    def asnumpy(self):
        return SAMPLE


class Loader(list):
    """As a DataLoader: sized, iterable again and again, no sequence of numbers."""


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (Loader([(SAMPLE, np.int64(3))] * 3), 3),
        (Loader([(np.repeat(SAMPLE, 16, 0), np.zeros(16, np.int64))] * 2), 32),
        (Loader([np.repeat(SAMPLE, 16, 0), np.repeat(SAMPLE, 5, 0)]), 21),
        ([{"x": SAMPLE, "label": 1}] * 2, 2),
        ([({"x": SAMPLE}, np.int64(1))] * 2, 2),
        (Reader([{"x": SAMPLE}] * 3), 3),
        (ByNumber(3), 3),
        ([(Tensor(), Tensor())] * 2, 2),
        ([{"x": MindTensor()}] * 2, 2),
        (lambda: ((SAMPLE, np.int64(0)) for _ in range(2)), 2),
        ([(SAMPLE, 3)] * 2, 2),
        ([(SAMPLE, "cat")] * 2, 2),
        ([({"x": SAMPLE}, 1)] * 2, 2),
    ],
    ids=[
        "pairs",
        "batches of pairs",
        "batches",
        "more keys",
        "dict and label",
        "get_next",
        "by number",
        "tensors with a gradient",
        "MindSpore's tensors",
        "function",
        "number",
        "name",
        "dict and number",
    ],
)
def test_what_training_loops_feed_is_taken_as_it_is_meant(source, count):
    dataset = Dataset(DataSpec(source=source), [InputSpec("x", (1, 4), np.float32)])
    for _ in range(2):
        got = list(dataset)
        assert len(got) == count == len(dataset)
        assert all(list(sample) == ["x"] and np.array_equal(sample["x"], SAMPLE) for sample in got)
    assert len(dataset.notes) == len(set(dataset.notes))


def test_where_no_layout_is_known_an_array_that_looks_turned_is_refused_with_a_hint():
    unnamed = InputSpec("x", (1, 4, 5, 3), np.float32)
    assert "looks like NCHW" in refusal(DataSpec(source=[np.ones((1, 3, 4, 5))]), (unnamed,))


@pytest.mark.parametrize(("layout", "given"), [("NHWC", (3, 4, 5)), ("NCHW", (5, 3, 4))])
@pytest.mark.parametrize("stack", [1, 6])
def test_the_other_layout_is_turned_where_only_that_has_the_sizes(tmp_path, layout, given, stack):
    wanted = tuple(given[k] for k in ((1, 2, 0) if layout == "NHWC" else (2, 0, 1)))
    item = InputSpec("x", (1, *wanted), np.float32, layout)
    array = np.random.default_rng(0).random((stack, *given), np.float32)
    np.save(tmp_path / "x.npy", array)
    turned = array.transpose((0, 2, 3, 1) if layout == "NHWC" else (0, 3, 1, 2))
    for spec in (DataSpec({0: str(tmp_path / "x.npy")}, count=stack), DataSpec(source=list(array[:, None]))):
        np.testing.assert_array_equal(np.concatenate([sample["x"] for sample in Dataset(spec, [item])]), turned)


def test_files_may_be_listed(tmp_path):
    paths = []
    for k in (2, 0, 1):
        paths.append(tmp_path / f"{k}.npy")
        np.save(paths[-1], SAMPLE + k)
    chosen = options_of_kwargs("m.onnx", "m", quant_type="PostTraining", calibration_data=paths)
    dataset = Dataset(data_spec(chosen), [InputSpec("x", (1, 4), np.float32)])
    assert [sample["x"][0, 0] for sample in dataset] == [2, 0, 1]


def test_a_text_beside_samples_is_named_with_what_to_do(tmp_path):
    SAMPLE.tofile(tmp_path / "a.bin")
    (tmp_path / "README.txt").write_text("hi")
    with pytest.raises(DataError, match=r"README\.txt: file_size: 2 .*; try a folder that holds samples alone"):
        Dataset(DataSpec({0: str(tmp_path)}), [InputSpec("x", (1, 4), np.float32)])
