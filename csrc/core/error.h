#pragma once

#include <cstddef>
#include <source_location>
#include <stdexcept>
#include <string>

namespace deepplan {

// Anything this library refuses or fails at. what() ends with the place that threw ("... (csrc/core/x.cpp:12)");
// message() is the text without it, for a reader who did not write the code.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::source_location where = std::source_location::current());
  const std::string& message() const noexcept { return message_; }
  const std::source_location& where() const noexcept { return where_; }

 private:
  std::string message_;
  std::source_location where_;
};

// The caller passed something that cannot be meant: the message holds the offending value.
class InvalidArgument : public Error {
 public:
  explicit InvalidArgument(const std::string& message, std::source_location where = std::source_location::current())
      : Error(message, where) {}
};

// Device or pinned memory is short: the message holds what was asked for and what was there.
class OutOfMemory : public Error {
 public:
  explicit OutOfMemory(const std::string& message, std::source_location where = std::source_location::current())
      : Error(message, where) {}
};

// A device call failed: the message holds the call and the driver's text.
class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& message, std::source_location where = std::source_location::current())
      : Error(message, where) {}
};

// "1.5 GiB", "24.0 MiB", "512 bytes": sizes as error messages show them.
std::string format_bytes(std::size_t bytes);

}  // namespace deepplan
