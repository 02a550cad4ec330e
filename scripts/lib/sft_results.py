"""Tables and figures of sft_study.py, from the result.json of every finished unit."""
import json
import math
import pathlib
import statistics
import sys
from collections import defaultdict

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from plot_runs import COLORS, Chart

BEFORE = "before"  # the given model, not trained


def load(out):
    """All results under a directory, or of an earlier sft.json: list of dicts with arm, seed, training, evaluation."""
    if pathlib.Path(out).is_file():
        return json.loads(pathlib.Path(out).read_text())
    return [json.loads(path.read_text()) for path in sorted(pathlib.Path(out).glob("*/result.json"))]


def training_curve(metrics):
    """What of metrics.jsonl goes into a result: losses as means of ten steps, held-out losses, speed."""
    lines = [json.loads(line) for line in pathlib.Path(metrics).read_text().splitlines()]
    run = next(line for line in lines if line["kind"] == "run")
    steps = [line for line in lines if line["kind"] == "step"]
    blocks = [steps[i:i + 10] for i in range(0, len(steps), 10)]
    speeds = [line["tok_s"] for line in steps[2:] if line.get("tok_s")]
    return dict(device=run.get("device_name") or run.get("device"), dtype=run.get("dtype"), parameters=run.get("parameters"),
                attention=run.get("attention_schedule"), steps=steps[-1]["step"], tokens=steps[-1]["tokens"],
                seconds=steps[-1]["elapsed"], tokens_per_second=statistics.median(speeds) if speeds else None,
                loss=[[b[-1]["step"], round(statistics.mean(s["loss"] for s in b), 4)] for b in blocks],
                held_out=[[line["step"], round(line["loss"], 4)] for line in lines if line["kind"] == "validation"])


def evaluation(eval_json):
    """What of the file of `pivot eval` goes into a result, by spec."""
    results = json.loads(pathlib.Path(eval_json).read_text())["results"]
    return {r["attn"]: dict(metrics={name: [m["value"], m["stderr"], m["n"]] for name, m in r["metrics"].items()},
                            kept_mass=r["kept_mass"], seconds=r["seconds"]) for r in results}


def by_arm(results):
    arms = defaultdict(list)
    for result in results:
        arms[result["arm"]].append(result)
    order = [BEFORE, "dense"]
    return dict(sorted(arms.items(), key=lambda item: (order.index(item[0]) if item[0] in order else 2, item[0])))


def over_seeds(results, data, spec, metric):
    """(mean, spread over seeds or the evaluation's own standard error, number of seeds), or None."""
    values = [r["evaluation"][data][spec]["metrics"][metric] for r in results
              if metric in r["evaluation"].get(data, {}).get(spec, {}).get("metrics", {})]
    if not values:
        return None
    mean = statistics.mean(v[0] for v in values)
    if len(values) > 1:
        return mean, statistics.stdev(v[0] for v in values), len(values)
    return mean, values[0][1], 1


def cell(found, percent):
    if found is None:
        return ""
    mean, spread, _ = found
    scale, digits = (100, 1) if percent else (1, 4)
    text = f"{mean * scale:.{digits}f}"
    return text if spread is None or not math.isfinite(spread) else f"{text} ± {spread * scale:.{digits}f}"


def table(results, data, metric, specs):
    percent = metric != "loss"
    lines = ["| trained with | seeds | " + " | ".join(f"read with {s}" for s in specs) + " |", "|---|---|" + "---|" * len(specs)]
    for arm, members in by_arm(results).items():
        cells = [cell(over_seeds(members, data, spec, metric), percent) for spec in specs]
        if any(cells):
            seeds = "-" if arm == BEFORE else len(members)
            lines.append(f"| {'(not fine-tuned)' if arm == BEFORE else arm} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_over(result, names, spec, metric):
    """Of one result, over data sets of equal size; None where one is missing."""
    values = [result["evaluation"].get(name, {}).get(spec, {}).get("metrics", {}).get(metric) for name in names]
    return statistics.mean(v[0] for v in values) if values and all(values) else None


def native_table(results, specs):
    """Trained with the spec it is read with against trained dense and read with it, paired by seed (equal order of the data)."""
    arms = by_arm(results)
    dense = {r["seed"]: r for r in arms.get("dense", [])}
    questions = [name for name, metric in data_sets(results) if metric != "loss"]
    what = [("heldout: loss", ["heldout"], "loss"), ("readings: loss", ["readings"], "loss"),
            ("all questions: answer found, %", questions, "substring_match"), ("all questions: F1, %", questions, "f1")]
    lines = ["| | attention | dense, read dense | trained dense | trained with it | difference, by seed | seeds |",
             "|---|---|---|---|---|---|---|"]
    for title, names, metric in what:
        scale, digits = (1, 4) if metric == "loss" else (100, 1)
        for spec in specs:
            pairs = [(mean_over(dense[r["seed"]], names, "dense", metric), mean_over(dense[r["seed"]], names, spec, metric),
                      mean_over(r, names, spec, metric)) for r in arms.get(spec, []) if r["seed"] in dense and spec != "dense"]
            pairs = [pair for pair in pairs if None not in pair]
            if not pairs:
                continue
            best, post, native = (statistics.mean(column) * scale for column in zip(*pairs))
            changes = [(n - p) * scale for _, p, n in pairs]
            spread = f" ± {statistics.stdev(changes):.{digits}f}" if len(changes) > 1 else ""
            lines.append(f"| {title} | {spec} | {best:.{digits}f} | {post:.{digits}f} | {native:.{digits}f} "
                         f"| {statistics.mean(changes):+.{digits}f}{spread} | {len(pairs)} |")
    return "\n".join(lines)


def training_table(results):
    lines = ["| trained with | seed | device | steps | tokens | seconds | tokens/s | held-out loss, first and last |",
             "|---|---|---|---|---|---|---|---|"]
    for arm, members in by_arm(results).items():
        for r in members:
            t = r.get("training")
            if t:
                losses = f"{t['held_out'][0][1]:.4f}, {t['held_out'][-1][1]:.4f}" if t["held_out"] else ""
                speed = f"{t['tokens_per_second']:.0f}" if t["tokens_per_second"] else ""
                lines.append(f"| {arm} | {r['seed']} | {t['device']}, {t['dtype']} | {t['steps']} | {t['tokens']} "
                             f"| {t['seconds']:.0f} | {speed} | {losses} |")
    return "\n".join(lines)


def data_sets(results):
    """(name, metric) of everything that was evaluated, in a fixed order."""
    names = sorted({name for r in results for name in r["evaluation"]}, key=lambda n: (n.startswith("questions"), len(n), n))
    return [(name, "substring_match" if name.startswith("questions") else "loss") for name in names]


def tables(results, specs):
    titles = {"heldout": "Loss of held-out dialogues, nats per answer token",
              "readings": "Loss of held-out answers about long texts, nats per answer token"}
    parts = [training_table(results), "### Native Top-k against Top-k afterwards", native_table(results, specs)]
    for name, metric in data_sets(results):
        title = titles.get(name, f"Questions about texts of {name.removeprefix('questions_')} tokens: answer found, %")
        parts += [f"### {title}", table(results, name, metric, specs)]
    return "\n\n".join(parts) + "\n"


def plot_losses(results, path):
    """Held-out loss during training: mean of the seeds by arm."""
    curves = {}
    for arm, members in by_arm(results).items():
        points = defaultdict(list)
        for r in members:
            for step, loss in (r.get("training") or {}).get("held_out", []):
                points[step].append(loss)
        if len(points) > 1:
            curves[arm] = [(step, statistics.mean(losses)) for step, losses in sorted(points.items())]
    if not curves:
        return False
    every = [p for curve in curves.values() for p in curve]
    low, high = min(y for _, y in every), max(y for _, y in every)
    pad = 0.05 * (high - low) or 0.05
    chart = Chart((min(x for x, _ in every), max(x for x, _ in every)), (low - pad, high + pad), "steps",
                  "held-out loss, nats per answer token")
    for color, (arm, curve) in zip(COLORS, curves.items()):
        chart.line(curve, color, arm)
        chart.dots(curve, color)
    chart.save(pathlib.Path(path))
    return True


def plot_native(results, data, metric, specs, path):
    """Sparse reading of a model that was trained dense, or not at all, and of the one trained with that spec."""
    arms = by_arm(results)
    lines = {"not fine-tuned": [(i, over_seeds(arms.get(BEFORE, []), data, s, metric)) for i, s in enumerate(specs)],
             "trained dense": [(i, over_seeds(arms.get("dense", []), data, s, metric)) for i, s in enumerate(specs)],
             "trained as read": [(i, over_seeds(arms.get(s, []), data, s, metric)) for i, s in enumerate(specs)]}
    lines = {name: [(i, v[0]) for i, v in points if v] for name, points in lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    every = [y for points in lines.values() for _, y in points]
    if len(every) < 3:
        return False
    pad = 0.08 * (max(every) - min(every)) or 0.05
    chart = Chart((0, len(specs) - 1), (min(every) - pad, max(every) + pad),
                  "read with: " + ", ".join(s.removeprefix("topk:").split(",")[0] for s in specs) + " (left to right)",
                  f"{data}: {'loss, nats' if metric == 'loss' else 'answers found, share'}")
    for color, (name, points) in zip(COLORS, lines.items()):
        chart.line(points, color, name)
        chart.dots(points, color)
    chart.save(pathlib.Path(path))
    return True
