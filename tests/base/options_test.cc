#include "src/base/options.h"

#include "src/base/check.h"
#include "src/base/file.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot {
namespace {

struct Deep {
  bool on = false;
  template <class V>
  void visit(V&& v) {
    v("on", on, "a switch two levels down");
  }
};

struct Inner {
  double lr = 3e-4;
  Deep deep;
  int64_t warmup = 100;
  template <class V>
  void visit(V&& v) {
    v("lr", lr, "peak learning rate");
    v.group("deep", deep);  // fields after a group belong to the outer table again
    v("warmup", warmup, "warm-up steps");
  }
};

struct Outer {
  std::string name = "run \"1\"";
  bool verbose = false;
  Rational ratio{1, 100};
  Duration time{90};
  std::vector<std::string> mix = {"a", "b"};
  Inner optim;
  template <class V>
  void visit(V&& v) {
    v.group("optim", optim);
    v("name", name, "name of the run");
    v("verbose", verbose, "say more");
    v("ratio", ratio, "kept share");
    v("time", time, "time limit");
    v("mix", mix, "sources");
  }
};

TEST_CASE("options survive a round trip through TOML") {
  Outer a;
  a.name = "back\\slash\nline \"q\"";
  a.ratio = {1, 3};
  a.optim.lr = 0.1;
  a.optim.warmup = 7;
  a.optim.deep.on = true;
  Outer b;
  auto fields_a = option_fields(a);
  auto fields_b = option_fields(b);
  load_toml_text(fields_b, to_toml(fields_a, TomlComments::Docs), "round trip");
  CHECK(b.name == a.name);
  CHECK(b.ratio == a.ratio);
  CHECK(b.optim.lr == a.optim.lr);
  CHECK(b.optim.warmup == 7);
  CHECK(b.optim.deep.on);
  CHECK(b.mix == a.mix);
  CHECK(b.time == a.time);
}

TEST_CASE("an unknown key names the nearest one and the place") {
  Outer o;
  auto fields = option_fields(o);
  CHECK_THROWS_WITH(load_toml_text(fields, "[optim]\nlearnrate = 1\nwarmpu = 3\n", "x.toml"),
                    ContainsSubstring("x.toml: line"));
  CHECK_THROWS_WITH(set_override(fields, "optim.warmpu=3"),
                    ContainsSubstring("did you mean 'optim.warmup'"));
  CHECK_THROWS_WITH(set_override(fields, "warmpu=3"), ContainsSubstring("optim.warmup"));
  CHECK_THROWS_AS(set_override(fields, "optim.lr"), UserError);
}

TEST_CASE("values are checked") {
  Outer o;
  auto fields = option_fields(o);
  set_override(fields, "optim.warmup=2K");
  CHECK(o.optim.warmup == 2048);
  set_override(fields, "optim.lr=5%");
  CHECK(o.optim.lr == Approx(0.05));
  CHECK_THROWS_WITH(set_override(fields, "optim.warmup=many"), ContainsSubstring("optim.warmup"));
  CHECK_THROWS_AS(set_override(fields, "verbose=perhaps"), UserError);
  CHECK_THROWS_AS(set_override(fields, "optim.warmup=1.5"), UserError);
  CHECK_THROWS_WITH(load_toml_text(fields, "name = [unclosed", "bad.toml"),
                    ContainsSubstring("bad.toml: line 1"));
}

TEST_CASE("a file may include another, which it overrides") {
  test::TempDir dir;
  write_file_atomically(dir / "base.toml", "name = \"base\"\n[optim]\nlr = 1.0\n");
  write_file_atomically(dir / "top.toml", "include = \"base.toml\"\nname = \"top\"\n");
  Outer o;
  auto fields = option_fields(o);
  load_toml_file(fields, dir / "top.toml");
  CHECK(o.name == "top");
  CHECK(o.optim.lr == 1.0);
  write_file_atomically(dir / "loop.toml", "include = \"loop.toml\"\n");
  CHECK_THROWS_AS(load_toml_file(fields, dir / "loop.toml"), UserError);
}

}  // namespace
}  // namespace pivot
