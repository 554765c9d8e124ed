"""One model in one runtime, timed on request:  latency_worker.py RUNTIME MODEL THREADS

RUNTIME is bitlite, litert, onnxruntime, openvino or mslite. Prints "ready"; then for each line "N" on stdin runs N
times and prints the seconds of each run. Inputs are numpy arrays given anew each run and outputs are taken as numpy
arrays, in every runtime alike. Needs only numpy and the runtime, so that each can live in an environment of its own.
"""

import sys
import time

import numpy as np

KINDS = {"float": np.float32, "int8": np.int8, "uint8": np.uint8, "int64": np.int64, "int32": np.int32}


def random_input(shape, dtype):
    shape = [d if isinstance(d, int) and d > 0 else 1 for d in shape]
    rng = np.random.RandomState(0)
    if np.issubdtype(dtype, np.floating):
        return rng.rand(*shape).astype(dtype)
    return rng.randint(0, 100, shape).astype(dtype)


def bitlite(path, threads):
    import bitlite

    session = bitlite.load(path, threads=threads)
    feeds = {p.name: random_input(p.shape, p.dtype) for p in session.inputs}
    return lambda: session.run(feeds)


def litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    feeds = [
        (d["index"], random_input(list(map(int, d["shape"])), d["dtype"])) for d in interpreter.get_input_details()
    ]
    outputs = [d["index"] for d in interpreter.get_output_details()]

    def run():
        for index, array in feeds:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(i) for i in outputs]

    return run


def onnxruntime(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = {f"tensor({k})": v for k, v in KINDS.items()}
    feeds = {i.name: random_input(i.shape, kinds[i.type]) for i in session.get_inputs()}
    return lambda: session.run(None, feeds)


def openvino(path, threads):
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    model = core.read_model(path)
    model.reshape({i: [d.get_length() if d.is_static else 1 for d in i.partial_shape] for i in model.inputs})
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    inputs = [random_input(list(i.shape), i.element_type.to_dtype()) for i in model.inputs]

    def run():
        results = request.infer(inputs, share_inputs=True)
        return [np.array(v) for v in results.values()]

    return run


def mslite(path, threads):
    import mindspore_lite

    context = mindspore_lite.Context()
    context.target = ["cpu"]
    context.cpu.thread_num = threads
    model = mindspore_lite.Model()
    model.build_from_file(path, mindspore_lite.ModelType.MINDIR_LITE, context)
    inputs = model.get_inputs()
    kinds = {kind.upper().replace("FLOAT", "FLOAT32"): dtype for kind, dtype in KINDS.items()}
    arrays = [random_input(list(t.shape), kinds[str(t.dtype).split(".")[-1]]) for t in inputs]

    def run():
        for t, a in zip(inputs, arrays):
            t.set_data_from_numpy(a)
        return [t.get_data_to_numpy() for t in model.predict(inputs)]

    return run


def main():
    runtime, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    run = globals()[runtime](path, threads)
    for _ in range(3):
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        print(" ".join(f"{t:.9f}" for t in times), flush=True)


if __name__ == "__main__":
    main()
