"""The options of `benchmark`: the same machinery as the converter's."""

import pytest
from bitlite.converter.errors import UsageError
from bitlite.tools.options.benchmark import REFUSED, BenchOptions, help_text
from bitlite.tools.options.flags import fields_of, rows_of, snake


def parse(*flags):
    return BenchOptions.from_args(["--modelFile=m.ms", *flags])


def test_defaults_are_those_of_the_real_tool():
    options = parse()
    assert (options.loop_count, options.warm_up_loop_count, options.num_threads) == (10, 3, 2)
    assert (options.accuracy_threshold, options.cosine_distance_threshold) == (0.5, -1.1)
    assert (options.cpu_bind_mode, options.benchmark_data_type) == (1, "FLOAT")


def test_every_field_is_the_snake_case_of_its_flag():
    assert all(snake(row.name) == name for name, row in fields_of(BenchOptions).items())


@pytest.mark.parametrize("old, new", [
    (("--modelPath=m.ms", "--inDataPath=a,b"), ("--modelFile=m.ms", "--inDataFile=a,b")),
    (("--modelFile=m.ms", "--resizeDims=1,2"), ("--modelFile=m.ms", "--inputShapes=1,2")),
])  # fmt: skip
def test_names_of_older_versions(old, new):
    assert BenchOptions.from_args(old) == BenchOptions.from_args(new)


def test_shapes_by_position_and_by_name():
    assert parse("--inputShapes=1,32,32,1:1,10").input_shapes == {0: (1, 32, 32, 1), 1: (1, 10)}
    assert parse("--inputShape=a:1,2;b:0:3").input_shapes == {"a": (1, 2), "b:0": (3,)}


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--device=GPU", "CPUs"),
        ("--device=NPU", "CPUs"),
        ("--device=Foo", "CPU|GPU"),
        ("--enableFp16=true", "float32"),
        ("--fp16Priority=true", "float32"),
        ("--perfProfiling=true", "--timeProfiling"),
        ("--interOpParallelNum=2", "one after the other"),
        ("--parallelNum=4", "several processes"),
        ("--decryptKey=00", "encrypted"),
        ("--modelType=MindIR", "not read"),
        ("--loopCount=0", "1..1000000000"),
        ("--numThreads=0", "1..1024"),
        ("--cpuBindMode=3", "0..2"),
        ("--accuracyThreshold=-1", ">= 0"),
        ("--accuracyThreshold=nan", "number"),
        ("--inputShapes=1,a", "sizes"),
        ("--loopCont=3", "try --loopCount"),
        ("--inDataPat=3", "try --inDataFile"),
        ("--benchmarkDataFile=f", "--inDataFile"),
        ("--labelsFile=f", "directory"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(flag, words):
    with pytest.raises(UsageError) as caught:
        parse(flag)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_harmless_values_of_refused_flags_are_taken():
    assert parse("--device=CPU", "--enableFp16=false", "--interOpParallelNum=1", "--perfEvent=CYCLE") == parse()


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="one of them"):
        parse("--inDataFile=i", "--benchmarkDataFile=f", "--compareWith=m.tflite")
    with pytest.raises(UsageError, match="--modelFile is missing"):
        BenchOptions.from_args(["--loopCount=3"])


def test_the_echo_of_the_real_tool():
    lines = parse("--inDataFile=a.bin", "--benchmarkDataFile=o.txt").echo()
    assert "ModelPath = m.ms" in lines
    assert "cpuBindMode = HIGHER_CPU" in lines
    assert "AccuracyThreshold = 0.5" in lines


def test_python_keywords():
    assert BenchOptions.from_kwargs("m.ms", loop_count=3).loop_count == 3
    with pytest.raises(UsageError, match="loop_count"):
        BenchOptions.from_kwargs("m.ms", loop_cnt=3)


def test_help_names_every_flag():
    page = help_text(everything=True)
    assert all(f"--{row.name}" in page for row in (*rows_of(BenchOptions), *REFUSED))
