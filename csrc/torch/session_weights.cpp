// A session's host copy: laid out by the plan, coded, bound to the weights' uses, laid out again for another plan.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.h"
#include "torch/session.h"
#include "torch/value_conversion.h"

namespace deepplan {

WeightLayout Session::lay_out(const ExecutionPlan& plan) const {
  return deepplan::lay_out(model_weights(program_->graph()), plan,
                           promote_ ? program_->promotable_storages() : std::vector<bool>());
}

void Session::bind() {
  way_ = nullptr;  // without one, no run begins
  ways_.clear();   // they mean the host copy as it was before
  // The mapped address differs from the host's only in type where the driver unifies addresses, as it does here.
  in_place_begin_ =
      host_->size_bytes() == 0
          ? nullptr
          : const_cast<char*>(static_cast<const char*>(links_->target->device->in_place_address(host_->begin())));
  const std::vector<char*> in_place = in_place_addresses(0);
  const WeightLayout& layout = host_->layout();
  cold_weights_ = std::make_unique<WeightTable>(*program_, uses_on_device(*program_, plan_), layout, in_place);
  warm_weights_ = std::make_unique<WeightTable>(*program_, uses_on_device(*program_, layout), layout, in_place);
  std::vector<int> all(static_cast<std::size_t>(links_->links.count()));
  std::iota(all.begin(), all.end(), 0);
  way_ = &way_over(all);
  has_times_ = false;
}

// Of each storage; null where one lies coded: nothing reads it there.
std::vector<char*> Session::in_place_addresses(std::ptrdiff_t shift) const {
  std::vector<char*> addresses;
  for (std::size_t storage = 0; storage < program_->graph().storage_bytes.size(); ++storage) {
    const char* const host = host_->data(static_cast<int>(storage));
    addresses.push_back(host == nullptr ? nullptr : in_place_begin_ + (host - host_->begin()) + shift);
  }
  return addresses;
}

ColdWay& Session::way_over(const std::vector<int>& links) {
  if (const auto known = ways_.find(links); known != ways_.end()) return *known->second;
  const auto own = plan_for_.find(links.size());
  ExecutionPlan plan = own == plan_for_.end() ? plan_ : own->second;
  for (int& route : plan.route) route = links[static_cast<std::size_t>(route) % links.size()];
  const std::vector<Extent> groups = lay_out(plan).groups;
  const std::scoped_lock target_lock(links_->target->mutex);  // it may make what decodes; links are shared
  auto way = std::make_unique<ColdWay>(links_->links, *host_, plan_, std::move(plan), groups);
  way->loader().set_timed(timed_);
  return *(ways_[links] = std::move(way));
}

void Session::plan_for(int links, ExecutionPlan plan) {
  const std::scoped_lock lock(mutex_);
  if (links < 1 || links > links_->links.count()) {
    throw InvalidArgument("a plan for " + std::to_string(links) + " links: there are " +
                          std::to_string(links_->links.count()));
  }
  validate(plan, model_weights(program_->graph()), links);
  if (host_->is_coded() && (plan.group != plan_.group || plan.coded != plan_.coded)) {
    throw InvalidArgument("groups that lie coded cannot be others for " + std::to_string(links) + " links");
  }
  WeightLayout layout = lay_out(plan);
  layout.groups = host_->layout().groups;
  if (layout != host_->layout()) {
    throw InvalidArgument("a plan for " + std::to_string(links) + " links must load the same layers");
  }
  const auto in_use =
      std::find_if(ways_.begin(), ways_.end(), [&](const auto& way) { return way.second.get() == way_; });
  if (in_use == ways_.end()) throw Error("no plan could be bound when the last one was replaced: load the model again");
  const std::vector<int> used = in_use->first;
  plan_for_[static_cast<std::size_t>(links)] = std::move(plan);
  way_ = nullptr;
  {
    const std::scoped_lock target_lock(links_->target->mutex);  // nobody captures on these streams meanwhile
    std::erase_if(ways_, [&](const auto& way) { return way.first.size() == static_cast<std::size_t>(links); });
  }
  way_ = &way_over(used);
}

void Session::use_links(std::vector<int> links) {
  const std::scoped_lock lock(mutex_);
  std::vector<bool> seen(static_cast<std::size_t>(links_->links.count()));
  for (const int link : links) {
    if (link < 0 || link >= links_->links.count() || seen[static_cast<std::size_t>(link)]) {
      throw InvalidArgument("link " + std::to_string(link) + " is not there or named twice: there are " +
                            std::to_string(links_->links.count()));
    }
    seen[static_cast<std::size_t>(link)] = true;
  }
  if (links.empty() || links.front() != 0) throw InvalidArgument("the target's own link, 0, must be the first");
  way_ = &way_over(links);
}

void Session::require_own_host_copy() const {
  if (host_.use_count() > 1) throw InvalidArgument("another session uses this host copy: it stays as it is");
}

at::Tensor Session::storage_bytes(int storage) const {
  const auto bytes = static_cast<int64_t>(program_->graph().storage_bytes.at(storage));
  if (char* const plain = host_->data(storage)) {
    return at::for_blob(plain, {bytes}).options(at::kByte).target_device(at::kCPU).make_tensor();
  }
  at::Tensor decoded = at::empty({bytes}, at::kByte);
  host_->read(storage, static_cast<char*>(decoded.mutable_data_ptr()));
  return decoded;
}

void Session::encode() {
  const std::scoped_lock lock(mutex_);
  require_own_host_copy();
  const std::vector<std::optional<GroupCoding>> wanted = codings();
  if (std::none_of(wanted.begin(), wanted.end(), [](const auto& coding) { return coding.has_value(); })) return;
  try {
    prepare_decoding(wanted);
  } catch (const OutOfMemory&) {
    return;  // a target too full for the buffers gets its weights as they are
  }
  leave();
  plan_for_.clear();
  way_ = nullptr;  // half coded, the host copy is nothing that any loader knows: bind() makes one that does
  host_->code(wanted);
  bind();
}

std::vector<std::optional<GroupCoding>> Session::codings() const {
  std::vector<std::optional<GroupCoding>> codings;
  for (std::size_t group = 0; group < plan_.route.size(); ++group) {
    codings.push_back(coding_of(static_cast<int>(group)));
  }
  return codings;
}

void Session::prepare_decoding(const std::vector<std::optional<GroupCoding>>& codings) {
  const std::scoped_lock target_lock(links_->target->mutex);  // links are shared
  for (std::size_t group = 0; group < codings.size(); ++group) {
    if (codings[group]) links_->links.prepare_decoding(plan_.route[group]);
  }
}

std::optional<GroupCoding> Session::coding_of(int group) const {
  const auto index = static_cast<std::size_t>(group);
  if (plan_.coded.empty() || !plan_.coded[index] || !links_->target->device->can_decode()) return std::nullopt;
  const Graph& graph = program_->graph();
  const std::vector<int> owner = storage_owners(graph);
  const auto in_group = [&](int weight) {
    const int layer = owner[graph.weights[weight].storage];
    return layer >= 0 && plan_.group[layer] == group;
  };
  const std::vector<bool> on_device = uses_on_device(*program_, plan_);
  for (std::size_t use = 0; use < on_device.size(); ++use) {
    if (!on_device[use] && in_group(program_->uses()[use].weight)) return std::nullopt;
  }
  std::map<std::string, std::size_t> bytes;  // by dtype
  for (std::size_t weight = 0; weight < graph.weights.size(); ++weight) {
    if (in_group(static_cast<int>(weight))) {
      bytes[graph.weights[weight].dtype] += graph.storage_bytes[graph.weights[weight].storage];
    }
  }
  std::optional<GroupCoding> coding;
  std::size_t most = 0;
  for (const auto& [dtype, count] : bytes) {
    const std::optional<WeightFormat> format = weight_format_from_name(dtype);
    if (!format || count < most) continue;
    most = count;
    coding = GroupCoding{*format, links_->links.coded_piece_bytes(plan_.route[index])};
  }
  return coding;
}

void Session::rebind(ExecutionPlan plan) {
  const std::scoped_lock lock(mutex_);
  require_own_host_copy();
  const ModelWeights weights = model_weights(program_->graph());
  validate(plan, weights, links_->links.count());
  leave();
  host_->relayout(lay_out(plan));
  plan_ = std::move(plan);
  plan_for_.clear();
  bind();
}

// Nothing of the host copy is read any more, and nothing of it is on the target.
void Session::leave() {
  background_.reset();
  const std::scoped_lock target_lock(links_->target->mutex);  // nobody captures on these streams meanwhile
  links_->target->device->synchronize();
  for (const auto& [links, way] : ways_) way->loader().synchronize();
  captured_ = std::make_shared<CapturedRuns>();  // others may share what it had
  links_->target->residency.evict(name_);
}

}  // namespace deepplan
