#include <pybind11/pybind11.h>

#include "core/error.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace deepplan {
namespace {

void raise(const char* type, const Error& error) {
  py::set_error(py::module_::import("deepplan.errors").attr(type), error.message().c_str());
}

}  // namespace

void bind_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const InvalidArgument& error) {
      raise("InvalidInputError", error);
    } catch (const OutOfMemory& error) {
      raise("OutOfMemoryError", error);
    } catch (const DeviceError& error) {
      raise("DeviceError", error);
    } catch (const Error& error) {
      raise("DeepPlanError", error);
    }
  });
}

}  // namespace deepplan
