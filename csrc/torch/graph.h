// The graph of a model as plain data: what `deepplan.export` writes and the program is prepared from.
//
// It is a flat list of operator calls over numbered value slots. Nothing here is resolved or checked against torch;
// `Program` does that once, at registration.
#pragma once

#include <complex>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace deepplan {

struct NoneArgument {};
// A value produced by an input or by an earlier step.
struct Slot {
  int index = 0;
};
// A weight as the operator sees it; whether that is device memory or host memory read in place is the plan's choice.
struct WeightReference {
  int index = 0;
};
// Names, not numbers: torch's enumerations may be renumbered between releases.
struct DtypeArgument {
  std::string name;
};
struct LayoutArgument {
  std::string name;
};
struct MemoryFormatArgument {
  std::string name;
};
// `target` is the GPU the model runs on, whichever that is at run time; anything else is a fixed device.
struct DeviceArgument {
  std::string name;
};

struct Argument {
  using List = std::vector<Argument>;
  std::variant<NoneArgument, bool, int64_t, double, std::complex<double>, std::string, Slot, WeightReference,
               DtypeArgument, LayoutArgument, MemoryFormatArgument, DeviceArgument, List>
      value;
};

struct Step {
  std::string op;        // "aten::linear", or "deepplan::..." for the few steps the executor does itself
  std::string overload;  // "" for the default overload
  std::vector<Argument> arguments;
  std::map<std::string, Argument> keyword_arguments;
  std::vector<int> outputs;  // slots, -1 for a result nobody reads
  std::vector<int> frees;    // slots whose last reader is this step
};

// A contiguous range of steps [begin, end): what a plan places.
struct Layer {
  std::string name;
  int begin = 0;
  int end = 0;
  std::vector<int> storages;  // the storages this layer owns: they are loaded for it, or read in place by it
};

struct InputSpec {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  int slot = 0;
};

// A view of a storage; several weights may share one.
struct WeightSpec {
  std::string name;
  int storage = 0;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> stride;
  int64_t offset_bytes = 0;
};

struct Graph {
  int slot_count = 0;
  std::vector<InputSpec> inputs;
  std::vector<std::size_t> storage_bytes;
  std::vector<WeightSpec> weights;
  std::vector<Step> steps;
  std::vector<Layer> layers;
  std::vector<Argument> outputs;  // in the order of the flattened result
};

}  // namespace deepplan
