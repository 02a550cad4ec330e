// kill -9, a full disk and missing permission in the middle of a save.

#include <chrono>
#include <filesystem>
#include <thread>

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/philox.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

// Runs `body` in a child process and returns its exit code, or minus the signal that ended it.
template <class F>
int in_child(const F& body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (const std::exception&) {
      code = 98;
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// 0: saving threw an Error that says what to do, and left nothing but the older checkpoints.
int failed_cleanly(const std::string& dir, size_t entries_before) {
  try {
    TinyCheckpoint(2).save(dir);
    return 1;
  } catch (const UserError&) {
    return 2;
  } catch (const Error& e) {
    const std::string text = e.what();
    if (text.find("was not saved") == std::string::npos) return 3;
    if (text.find("intact") == std::string::npos) return 4;
  }
  const auto left =
      static_cast<size_t>(std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
  return left == entries_before ? 0 : 5;
}

TEST_CASE("kill -9 at any moment leaves the newest complete checkpoint readable") {
  const QuietLog quiet;
  const TempDir dir;
  // Disks differ by a factor of a hundred in how long a flush takes: moments are in units of a
  // save.
  const auto start = std::chrono::steady_clock::now();
  TinyCheckpoint(0).save(dir.path());
  const std::chrono::duration<double> save_time = std::chrono::steady_clock::now() - start;
  constexpr int kRounds = 30;
  constexpr float kLongest = 2.5F;
  int64_t newest = 0;
  int torn = 0;
  for (int round = 0; round < kRounds; ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int64_t step = newest + 1;; ++step) {
        TinyCheckpoint(step).save(dir.path());
        prune_checkpoints(dir.path(), 2);
      }
    }
    const float moment = Philox(11, Stream::Test).uniform(static_cast<uint64_t>(round));
    std::this_thread::sleep_for(save_time * (kLongest * moment));
    ::kill(child, SIGKILL);
    REQUIRE(::waitpid(child, nullptr, 0) == child);

    for (const fs::directory_entry& entry : fs::directory_iterator(dir.path())) {
      torn += entry.path().extension() == ".tmp" ? 1 : 0;
    }
    const std::string found = find_checkpoint(dir.path());
    CHECK(found == list_checkpoints(dir.path()).back());
    const TinyCheckpoint read = load(found);
    const int64_t step = read.info.state.step;
    CHECK(step >= newest);
    CHECK(read.weights == TinyCheckpoint(step).weights);
    CHECK(read.v == TinyCheckpoint(step).v);
    newest = step;
  }
  CHECK(newest > kRounds / 5);  // the children did save
  CHECK(torn > kRounds / 5);    // and were killed while saving
  prune_checkpoints(dir.path(), 1);
  CHECK(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("a file that may not grow") {
  const TempDir dir;
  TinyCheckpoint(1).save(dir.path());
  // Limits that stop the model, the optimizer and, being below any HDF5 file, the very start.
  for (const rlim_t limit : {1024, 9000, 30000, 50000}) {
    CAPTURE(limit);
    CHECK(in_child([&] {
            ::signal(SIGXFSZ, SIG_IGN);
            const rlimit files = {limit, limit};
            if (::setrlimit(RLIMIT_FSIZE, &files) != 0) return 97;
            return failed_cleanly(dir.path(), 1);
          }) == 0);
  }
  CHECK(load(find_checkpoint(dir.path())).info.state.step == 1);
}

TEST_CASE("a directory that may not be written") {
  const TempDir dir;
  const std::string saved = dir / "checkpoints";
  TinyCheckpoint(1).save(saved);
  if (::geteuid() == 0) {
    // Permissions do not bind root; a file in the directory's place does.
    fs::create_directories(dir / "run");
    TinyCheckpoint(0).save(dir / "run");
    CHECK_THROWS_WITH(TinyCheckpoint(2).save(saved + "/step_00000001/model.h5"),
                      ContainsSubstring("was not saved"));
  } else {
    fs::permissions(saved, fs::perms::owner_read | fs::perms::owner_exec);
    CHECK(failed_cleanly(saved, 1) == 0);
    fs::permissions(saved, fs::perms::owner_all);
  }
  CHECK(load(find_checkpoint(dir.path())).info.state.step == 1);
}

// Needs the right to mount; elsewhere the limits above stand for the full disk.
TEST_CASE("a full disk") {
  const TempDir dir;
  const std::string disk = dir / "disk";
  fs::create_directories(disk);
  const auto on_disk = [&](const char* options, const auto& body) {
    if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, options) != 0) {
      SUCCEED("no right to mount a small disk");
      return;
    }
    body();
    CHECK(::umount(disk.c_str()) == 0);
  };
  SECTION("seen before writing") {
    on_disk("size=200k", [&] {
      CHECK_THROWS_WITH(TinyCheckpoint(2).save(disk), ContainsSubstring("are free"));
      CHECK(fs::is_empty(disk));
    });
  }
  SECTION("no room for another file") {
    // A tmpfs of few inodes has free bytes and refuses the next file; each limit stops at another
    // one.
    for (const char* options :
         {"size=64m,nr_inodes=10", "size=64m,nr_inodes=11", "size=64m,nr_inodes=12",
          "size=64m,nr_inodes=13", "size=64m,nr_inodes=14"}) {
      CAPTURE(options);
      on_disk(options, [&] {
        TinyCheckpoint(1).save(disk);
        CHECK(failed_cleanly(disk, 1) == 0);
        CHECK(load(find_checkpoint(disk)).info.state.step == 1);
      });
    }
  }
}

}  // namespace
}  // namespace pivot::test
