// torch's current stream of the target, as one of the runtime's.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>

#include "core/device.h"

namespace deepplan {

inline std::unique_ptr<Stream> current_stream(Device& device, c10::Device target) {
  if (target.is_cpu()) return device.borrow_stream(nullptr);
  const c10::impl::VirtualGuardImpl guard(target.type());
  return device.borrow_stream(guard.getStream(target).native_handle());
}

}  // namespace deepplan
