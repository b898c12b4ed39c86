#include "serving/residency_ledger.h"

#include <gtest/gtest.h>

#include <vector>

namespace deepplan {
namespace {

// Room for one: every load evicts the other, and each is planned twice before anything is carried out.
TEST(ResidencyLedger, KeepsTrackOfAnInstanceThatIsDueToLeaveMoreThanOnce) {
  constexpr int kFirst = 0, kSecond = 1;
  ResidencyLedger ledger(1, 100, {100, 100}, {});
  std::vector<int> evicted;
  EXPECT_EQ(ledger.plan_load(0, kFirst), 0);
  ledger.carry_out_load(kFirst, 0, evicted);
  EXPECT_EQ(ledger.plan_load(0, kSecond), 1);
  EXPECT_EQ(ledger.plan_load(0, kFirst), 1);
  EXPECT_EQ(ledger.plan_load(0, kSecond), 1);
  EXPECT_FALSE(ledger.stays(kFirst));
  EXPECT_TRUE(ledger.stays(kSecond));

  ledger.carry_out_load(kSecond, 1, evicted);
  EXPECT_EQ(evicted, std::vector<int>{kFirst});
  EXPECT_EQ(ledger.gpu_of(kFirst), 0);  // it is still to be loaded there, and to leave again
  ledger.carry_out_load(kFirst, 1, evicted);
  EXPECT_EQ(ledger.resident_bytes(0), 100);
  ledger.carry_out_load(kSecond, 1, evicted);
  EXPECT_EQ(evicted, (std::vector<int>{kFirst, kSecond, kFirst}));
  EXPECT_EQ(ledger.gpu_of(kFirst), ResidencyLedger::kNowhere);
  EXPECT_EQ(ledger.gpu_of(kSecond), 0);
  EXPECT_EQ(ledger.resident_bytes(0), 100);
}

}  // namespace
}  // namespace deepplan
