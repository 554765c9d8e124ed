// The Python extension bitlite._native: programs. What quantization counts and solves natively is
// bind_calibration.cc; no other file knows pybind11.

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu.h"
#include "runtime.h"

namespace py = pybind11;

namespace bitlite {
namespace {

// A reference to a Python object that may be dropped from any thread.
std::shared_ptr<void> KeepAlive(py::object object) {
  return {object.release().ptr(), [](void* p) {
            py::gil_scoped_acquire gil;
            Py_DECREF(static_cast<PyObject*>(p));
          }};
}

template <typename T>
T Get(const py::dict& d, const char* key, T fallback) {
  if (!d.contains(key)) return fallback;
  const py::object value = d[key];
  return value.is_none() ? fallback : value.cast<T>();
}

template <typename T>
std::vector<T> NumberList(const py::dict& d, const char* key) {
  if (!d.contains(key)) return {};
  const py::object value = d[key];
  if (value.is_none()) return {};
  if (py::isinstance<py::array>(value)) {
    const auto array = py::array_t<T, py::array::c_style | py::array::forcecast>::ensure(value);
    return {array.data(), array.data() + array.size()};
  }
  return value.cast<std::vector<T>>();
}

TensorSpec ParseTensor(const py::dict& d, bool with_data) {
  TensorSpec t;
  t.name = Get<std::string>(d, "name", "");
  try {
    t.dtype = DTypeFromName(Get<std::string>(d, "dtype", "float32"));
    t.shape = Get<Shape>(d, "shape", {});
    t.count = CountOf(t.shape);
    t.scale = NumberList<double>(d, "scale");
    t.zero_point = NumberList<int64_t>(d, "zero_point");
    t.axis = Get<int>(d, "axis", -1);
    if (t.axis < 0 && t.axis != -1) t.axis += t.rank();
    const py::object data = d.contains("data") ? py::object(d["data"]) : py::none();
    t.constant = !data.is_none();
    if (t.constant && (with_data || t.count <= kSmallConstant)) {
      py::array array = py::array::ensure(data, py::array::c_style);
      if (!array) throw std::invalid_argument("data is not an array");
      if (static_cast<int64_t>(array.size()) != t.count ||
          static_cast<size_t>(array.itemsize()) != SizeOf(t.dtype)) {
        throw std::invalid_argument("data does not have the declared shape " + ToString(t.shape) +
                                    " and type " + NameOf(t.dtype));
      }
      t.data = array.data();
      t.owner = KeepAlive(std::move(array));
    }
  } catch (const py::cast_error&) {
    throw std::invalid_argument(t.name + ": a field of the tensor has the wrong type");
  } catch (const std::invalid_argument& e) {
    throw std::invalid_argument(t.name + ": " + e.what());
  }
  return t;
}

bool IsInt(py::handle h) { return PyLong_Check(h.ptr()) || py::hasattr(h, "__index__"); }

Attr ParseAttr(const std::string& key, py::handle value) {
  if (PyBool_Check(value.ptr())) return value.cast<bool>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (PyFloat_Check(value.ptr())) return value.cast<double>();
  if (py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value)) {
    bool ints = true;
    for (py::handle item : value) ints = ints && IsInt(item);
    if (ints) return value.cast<std::vector<int64_t>>();
    return value.cast<std::vector<double>>();
  }
  if (IsInt(value)) return value.cast<int64_t>();
  throw std::invalid_argument("attribute " + key +
                              " must be bool, int, float, str or a list of numbers");
}

StepSpec ParseStep(const py::dict& d) {
  StepSpec s;
  s.op = Get<std::string>(d, "op", "");
  s.name = Get<std::string>(d, "name", "");
  try {
    s.inputs = Get<std::vector<int>>(d, "inputs", {});
    s.outputs = Get<std::vector<int>>(d, "outputs", {});
    if (d.contains("attrs")) {
      for (const auto& item : d["attrs"].cast<py::dict>()) {
        if (item.second.is_none()) continue;
        const std::string key = item.first.cast<std::string>();
        s.attrs.emplace(key, ParseAttr(key, item.second));
      }
    }
  } catch (const py::cast_error&) {
    throw std::invalid_argument(s.name + " (" + s.op +
                                "): a field or attribute has the wrong type");
  }
  return s;
}

py::dtype NumpyType(DType dtype) { return py::dtype(std::string(NameOf(dtype))); }

// Whether the handler of a signal has raised, as that of Ctrl-C does. Python runs handlers on its
// main thread alone, and the others need not wait for the GIL.
bool Interrupted() {
#if defined(__linux__)
  if (syscall(SYS_gettid) != getpid()) return false;
#endif
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

// One graph input or output: what an array must look like.
struct Port {
  std::string name;
  Shape shape;
  py::dtype dtype;
  size_t bytes;

  static constexpr const char* kNoArray = "not a numpy array";

  explicit Port(const TensorSpec& t)
      : name(t.name), shape(t.shape), dtype(NumpyType(t.dtype)), bytes(t.bytes()) {}

  // Uninitialized. Without strides numpy makes them, which pybind11 would in vectors of its own.
  py::object NewArray() const {
    const auto& api = py::detail::npy_api::get();
    static_assert(sizeof(Py_intptr_t) == sizeof(int64_t));
    PyObject* array = api.PyArray_NewFromDescr_(
        api.PyArray_Type_, dtype.inc_ref().ptr(), static_cast<int>(shape.size()),
        reinterpret_cast<const Py_intptr_t*>(shape.data()), nullptr, nullptr, 0, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(array);
  }

  // Whether an array of numpy's own type object is what the port takes: decides nearly always, and
  // touches no reference count.
  bool Fits(py::handle h, bool writable) const {
    const auto* array = py::detail::array_proxy(h.ptr());
    const int flags =
        py::array::c_style | (writable ? int{py::detail::npy_api::NPY_ARRAY_WRITEABLE_} : 0);
    return array->descr == dtype.ptr() && (array->flags & flags) == flags &&
           static_cast<size_t>(array->nd) == shape.size() &&
           std::equal(shape.begin(), shape.end(), array->dimensions);
  }

  // Why the value cannot be bound as it is, in words after the port's name; empty when it can.
  std::string Misfit(py::handle h, bool writable) const {
    if (!py::isinstance<py::array>(h)) return kNoArray;
    if (Fits(h, writable)) return "";
    const auto array = py::reinterpret_borrow<py::array>(h);
    // Built-in types are singletons, so the pointer comparison nearly always decides.
    if (array.dtype().ptr() != dtype.ptr() && !array.dtype().equal(dtype)) {
      return "type " + std::string(py::str(array.dtype())) + ", expected " +
             std::string(py::str(dtype));
    }
    bool same = static_cast<size_t>(array.ndim()) == shape.size();
    for (size_t d = 0; same && d < shape.size(); ++d) {
      same = array.shape(static_cast<py::ssize_t>(d)) == shape[d];
    }
    if (!same) {
      return "shape " + std::string(py::str(py::object(array.attr("shape")))) + ", expected " +
             ToString(shape);
    }
    if ((array.flags() & py::array::c_style) == 0) return "not C-contiguous";
    return writable && !array.writeable() ? "not writable" : "";
  }

  // Throws when the array cannot be bound as it is.
  void* Bind(py::handle h, bool writable) const {
    const std::string misfit = Misfit(h, writable);
    if (misfit == kNoArray) throw py::type_error(name + ": " + misfit);
    if (!misfit.empty()) throw py::value_error(name + ": " + misfit);
    return const_cast<void*>(py::reinterpret_borrow<py::array>(h).data());
  }
};

class PyProgram {
 public:
  PyProgram(const py::list& tensors, const py::list& steps, std::vector<int> inputs,
            std::vector<int> outputs, int threads, const std::string& isa) {
    std::vector<TensorSpec> tensor_specs;
    for (py::handle t : tensors) tensor_specs.push_back(ParseTensor(t.cast<py::dict>(), true));
    std::vector<StepSpec> step_specs;
    for (py::handle s : steps) step_specs.push_back(ParseStep(s.cast<py::dict>()));
    const IsaMask mask = isa.empty() ? ActiveIsa() : IsaUpTo(isa);
    {
      py::gil_scoped_release release;
      program_ = std::make_unique<Program>(std::move(tensor_specs), std::move(step_specs),
                                           std::move(inputs), std::move(outputs), threads, mask);
    }
    for (size_t i = 0; i < program_->inputs(); ++i) inputs_.emplace_back(program_->input(i));
    for (size_t i = 0; i < program_->outputs(); ++i) outputs_.emplace_back(program_->output(i));
  }

  py::list Run(const py::sequence& inputs) const {
    Pointers in;
    BindInputs(inputs, in);
    return RunBound(in);
  }

  // As Run, of a dict of arrays by these names, to a dict; None where the inputs are not to the
  // byte what the program takes. Calls of microseconds are spared what Python would add.
  py::object RunExact(py::handle feeds, const py::tuple& input_names,
                      const py::tuple& output_names) const {
    CheckCount(input_names, inputs_.size(), "input names");
    CheckCount(output_names, outputs_.size(), "output names");
    if (!PyDict_CheckExact(feeds.ptr())) return py::none();
    if (static_cast<size_t>(PyDict_Size(feeds.ptr())) != inputs_.size()) return py::none();
    Pointers in;
    in.reserve(inputs_.size());
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const py::handle name = PyTuple_GET_ITEM(input_names.ptr(), static_cast<py::ssize_t>(i));
      const py::handle h = PyDict_GetItemWithError(feeds.ptr(), name.ptr());
      if (!h && PyErr_Occurred() != nullptr) throw py::error_already_set();
      if (!h || !inputs_[i].Misfit(h, false).empty()) return py::none();
      in.push_back(py::detail::array_proxy(h.ptr())->data);
    }
    const py::list results = RunBound(in);
    py::dict named;
    for (size_t i = 0; i < outputs_.size(); ++i) named[output_names[i]] = results[i];
    return named;
  }

  void RunInto(const py::sequence& inputs, const py::sequence& outputs) const {
    Pointers in, out;
    BindInputs(inputs, in);
    CheckCount(outputs, outputs_.size(), "outputs");
    for (size_t i = 0; i < outputs_.size(); ++i) {
      out.push_back(outputs_[i].Bind(py::object(outputs[i]), true));
      for (size_t k = 0; k < in.size(); ++k) {
        CheckApart(outputs_[i], out[i], inputs_[k], in[k]);
      }
      for (size_t k = 0; k < i; ++k) CheckApart(outputs_[i], out[i], outputs_[k], out[k]);
    }
    Execute(in, out, nullptr);
  }

  std::vector<int64_t> Profile(const py::sequence& inputs) const {
    std::vector<int64_t> ns(program_->steps().size(), 0);
    std::vector<py::array> keep;
    Pointers in, out;
    BindInputs(inputs, in);
    for (const Port& port : outputs_) {
      keep.emplace_back(port.dtype, port.shape);
      out.push_back(keep.back().mutable_data());
    }
    Execute(in, out, ns.data());
    return ns;
  }

  std::vector<std::string> StepNames() const {
    std::vector<std::string> names;
    for (const StepSpec& s : program_->steps()) names.push_back(s.name);
    return names;
  }

  const Program& program() const { return *program_; }

 private:
  using Pointers = std::vector<void*>;

  static void CheckCount(const py::sequence& given, size_t expected, const char* what) {
    if (given.size() != expected) {
      throw py::value_error(std::string(what) + ": " + std::to_string(given.size()) +
                            " arrays given, expected " + std::to_string(expected));
    }
  }

  static void CheckApart(const Port& a, const void* pa, const Port& b, const void* pb) {
    const char* x = static_cast<const char*>(pa);
    const char* y = static_cast<const char*>(pb);
    if (a.bytes > 0 && b.bytes > 0 && x < y + b.bytes && y < x + a.bytes) {
      throw py::value_error(a.name + " and " + b.name + " overlap in memory");
    }
  }

  py::list RunBound(const Pointers& in) const {
    py::list results(outputs_.size());
    Pointers out;
    out.reserve(outputs_.size());
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const py::object array = outputs_[i].NewArray();
      out.push_back(py::detail::array_proxy(array.ptr())->data);
      PyList_SET_ITEM(results.ptr(), static_cast<py::ssize_t>(i), array.inc_ref().ptr());
    }
    Execute(in, out, nullptr);
    return results;
  }

  void BindInputs(const py::sequence& inputs, Pointers& in) const {
    CheckCount(inputs, inputs_.size(), "inputs");
    in.reserve(inputs_.size());
    for (size_t i = 0; i < inputs_.size(); ++i) {
      in.push_back(inputs_[i].Bind(py::object(inputs[i]), false));
    }
  }

  void Execute(const Pointers& in, const Pointers& out, int64_t* ns) const {
    bool whole;
    {
      py::gil_scoped_release release;
      whole =
          program_->Run(const_cast<const void* const*>(in.data()), out.data(), ns, &Interrupted);
    }
    if (!whole) throw py::error_already_set();
  }

  std::unique_ptr<Program> program_;
  std::vector<Port> inputs_, outputs_;
};

py::object PyCheckStep(const py::list& tensors, const py::dict& step, const std::string& isa) {
  std::string reason;
  try {
    const StepSpec spec = ParseStep(step);
    // Only the tensors of this step are parsed: a whole graph is checked in linear time.
    std::vector<TensorSpec> parsed;
    std::vector<const TensorSpec*> pointers(tensors.size(), nullptr);
    parsed.reserve(spec.inputs.size() + spec.outputs.size());
    for (const auto* list : {&spec.inputs, &spec.outputs}) {
      for (int i : *list) {
        if (i < 0 || static_cast<size_t>(i) >= tensors.size() || pointers[i] != nullptr) continue;
        parsed.push_back(ParseTensor(tensors[i].cast<py::dict>(), false));
        pointers[i] = &parsed.back();
      }
    }
    reason = CheckStep(pointers, spec, isa.empty() ? ActiveIsa() : IsaUpTo(isa));
  } catch (const std::invalid_argument& e) {
    reason = e.what();
  }
  if (reason.empty()) return py::none();
  return py::str(reason);
}

}  // namespace
}  // namespace bitlite

PYBIND11_MODULE(_native, m) {
  using namespace bitlite;
  m.doc() = "bitlite's runtime: plans and runs operator steps.";
  py::class_<PyProgram>(m, "Program")
      .def(py::init<const py::list&, const py::list&, std::vector<int>, std::vector<int>, int,
                    const std::string&>(),
           py::arg("tensors"), py::arg("steps"), py::arg("inputs"), py::arg("outputs"),
           py::arg("threads") = 1, py::arg("isa") = "")
      .def("run", &PyProgram::Run, py::arg("inputs"))
      .def("run_exact", &PyProgram::RunExact, py::arg("feeds"), py::arg("input_names"),
           py::arg("output_names"))
      .def("run_into", &PyProgram::RunInto, py::arg("inputs"), py::arg("outputs"))
      .def("profile", &PyProgram::Profile, py::arg("inputs"))
      .def_property_readonly("step_names", &PyProgram::StepNames)
      .def_property_readonly("arena_bytes",
                             [](const PyProgram& p) { return p.program().arena_bytes(); })
      .def_property_readonly("arena_lower_bound",
                             [](const PyProgram& p) { return p.program().arena_lower_bound(); })
      .def_property_readonly("constant_bytes",
                             [](const PyProgram& p) { return p.program().constant_bytes(); })
      .def_property_readonly("isa", [](const PyProgram& p) { return IsaName(p.program().isa()); });
  m.def("check_step", &PyCheckStep, py::arg("tensors"), py::arg("step"), py::arg("isa") = "");
  DefineCalibration(m);
  DefineWeights(m);
  m.def("isa", [] { return IsaName(ActiveIsa()); });
  m.def("isas", &AvailableIsas);
  m.def("ops", &OpNames);
}
