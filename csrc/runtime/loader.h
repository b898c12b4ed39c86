#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "core/device.h"
#include "runtime/host_weights.h"
#include "runtime/links.h"
#include "runtime/piece_order.h"
#include "runtime/plan.h"

namespace deepplan {

// When a group was on its way, in ms after a reference event of the target.
struct GroupTimes {
  double start_ms = 0;
  double end_ms = 0;
};

// Issues the copies of a model's cold starts, group by group as its plan says. It never waits: the executor's thread
// issues a little, launches a kernel, and waits (on its stream) for the groups its steps need. One thread at a time.
//   loader.begin(block.data(), block.last_uses()); loader.issue(8);
//   for each step: if its group is new: stream.wait(loader.require(group)); run it; loader.issue(2);
//   loader.finish();
class Loader {
 public:
  // Borrows links and weights, which must outlive it; both must match the plan (see validate).
  Loader(Links& links, const HostWeights& weights, const ExecutionPlan& plan);
  // The same in other groups than the layout's, each over its route: `groups` are contiguous from 0 to the end of what
  // the layout loads. InvalidArgument where one holds part of a group that is coded.
  Loader(Links& links, const HostWeights& weights, const std::vector<Extent>& groups, const std::vector<int>& route);
  // Waits for what was issued: weights and device memory may go away after it.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // Starts a cold start into [device_base, device_base + loaded_bytes) of the target. No byte is written there before
  // the points recorded in `after` (the last uses of that memory) are reached; null entries are skipped. Issues no
  // copy. What an earlier cold start had not issued yet is dropped.
  void begin(char* device_base, std::span<const std::shared_ptr<Event>> after = {});

  // Issues the next `pieces` copies, in an order that keeps every link fed and the groups of each link in order.
  // Returns whether any is left. No-op when none is.
  bool issue(std::size_t pieces);

  // Makes sure that this group's copies were issued (with all that come before them in the order) and returns the event
  // that is reached when the group is in the target's memory. Valid until the next begin. InvalidArgument before the
  // first begin or for a group that is not there.
  const Event& require(int group);

  // Brings what the layout promotes to where `device_base` is the layout's begin, behind `cold_start`, the event behind
  // a cold start's last work there. Returns the event behind the copies, or `cold_start` if there is nothing to bring.
  // `after` as in begin(): nothing is written before the memory's last uses either, though the cold start had no group.
  std::shared_ptr<Event> promote(char* device_base, std::shared_ptr<Event> cold_start,
                                 std::span<const std::shared_ptr<Event>> after = {});

  // Issues everything left. Does not wait for it.
  void finish() { issue(piece_count()); }
  // Blocks the calling thread until everything issued so far has arrived.
  void synchronize();

  std::size_t piece_count() const { return pieces_.size(); }
  std::size_t issued_count() const { return next_; }
  int group_count() const { return static_cast<int>(groups_.size()); }

  // Whether the cold starts begun after this record when each group travels. Costs two events a group.
  void set_timed(bool timed);
  // When each group of the last cold start began and had arrived; `reference` is a timed event of the target, recorded.
  // Everything must have been issued (InvalidArgument otherwise); waits for it to arrive.
  std::vector<GroupTimes> group_times_ms(const Event& reference) const;

 private:
  struct Group {
    Extent extent;
    int link = 0;
    bool coded = false;
    bool issued = false;
    std::unique_ptr<Event> ready;     // of the device that makes it so: the link's, or the target that decodes it
    std::unique_ptr<Event> departed;  // on the link's device; the rest only when timed
    std::unique_ptr<Event> start;     // on the target, like `end`
    std::unique_ptr<Event> end;
  };
  std::vector<Piece> pieces_of(int group) const;
  // The stream on which a group becomes ready.
  Stream& last_stream(const Group& group) const;
  void issue_piece(const Piece& piece);
  void make_timed_events();
  // The target's stream that sees a link's groups come and go.
  Stream& clock_stream(int link) const;

  Links* links_;
  const HostWeights* weights_;
  std::vector<Piece> pieces_;  // in the order of issue
  std::vector<Group> groups_;
  std::vector<Stream*> writing_;                        // on which groups become ready, each once
  std::vector<std::unique_ptr<Stream>> clock_streams_;  // one a link, on the target; only when timed, null where the
                                                        // load stream itself sees all
  char* device_base_ = nullptr;
  std::size_t next_ = 0;
  bool begun_ = false;
  bool timed_ = false;
  bool timing_ = false;  // this cold start is timed
};

}  // namespace deepplan
