"""Command `edgeyolo bench`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeyolo.cli.completion import complete_models, complete_targets
from edgeyolo.cli.console import json_option
from edgeyolo.cli.idle_options import refuse_idle, refuse_lone_split
from edgeyolo.cli.options import locate_weights
from edgeyolo_bench.live.live_options import Live, live_options, settle_live
from edgeyolo_bench.option_types import ImageSizes, Milliseconds
from edgeyolo_bench.paper.paper_options import paper_options, tables_asked

if TYPE_CHECKING:
    from edgeyolo.backend.interface import CalibrationSource
    from edgeyolo_bench.measure.measure import Labelled
    from edgeyolo_bench.remote.fleet import Member

SCENARIO_NAMES = ("single-stream", "multi-stream", "offline", "paper")


@click.command("bench")
@click.argument("models", nargs=-1, metavar="[MODEL...]", shell_complete=complete_models)
@click.option(
    "--target",
    "targets",
    multiple=True,
    shell_complete=complete_targets,
    help="Targets to measure weights on; several with commas.",
)
@click.option(
    "--scenario", type=click.Choice(SCENARIO_NAMES), default="single-stream", show_default=True,
    help="One image at a time (p90); 8 images a query (p99); all at once; the paper's: the network alone.",
)  # fmt: skip
@click.option(
    "--imgsz", "--img-size", "sizes", type=ImageSizes(), default=(),
    help="Input size: 640, or 384x640 (height x width); default: the size of the training. Several with commas: "
    "weights are measured at each.",
)  # fmt: skip
@click.option("--batch", type=click.IntRange(1, 32), help="Images of a query, for offline and paper.")
@click.option(
    "--images", type=click.Path(exists=True), help="Photographs to run on (default: generated scenes)."
)
@click.option("--data", help="Labelled images: AP of the very artifacts that are timed.")
@click.option("--split", help="Which part of --data.")
@click.option("--calib", help="Images for INT8 targets of weights.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads (default: the runtime's own).")
@click.option(
    "--processes", type=click.IntRange(1, 10), default=1, show_default=True,
    help="Fresh processes to spread the run over; intervals then hold what differs between them.",
)  # fmt: skip
@click.option(
    "--min-duration", type=click.FloatRange(min=0), help="Least seconds of measurement (default: 10)."
)
@click.option("--min-count", type=click.IntRange(min=1), help="Least queries (default: 64, 662, 30 or 30).")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the images of queries.",
)  # fmt: skip
@click.option("--baseline", type=click.Path(exists=True, path_type=Path), help="An earlier report.json.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.05, show_default=True,
    help="How much worse than the baseline is allowed, as a share.",
)  # fmt: skip
@click.option(
    "--max-latency", type=Milliseconds(), metavar="TIME",
    help="Say which has the best AP (of --data) within it: 15ms.",
)  # fmt: skip
@click.option("--csv", "table", type=click.Path(dir_okay=False, path_type=Path), help="All figures as CSV.")
@click.option("--remote", help="Measure on another device: user@host, or a name of ~/.ssh/config.")
@click.option("--remote-python", default="python3", show_default=True, help="Its Python that has edgeyolo.")
@click.option(
    "--remote-wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Copy this wheel of edgeyolo along and install it there for the time of the measurement.",
)  # fmt: skip
@click.option(
    "--ssh-config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For ssh -F."
)
@click.option(
    "--fleet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Devices in a YAML file, one report.",
)
@live_options
@paper_options
@click.option(
    "--limits/--no-limits", default=True, help="Measure this machine's limits, to check the results by."
)
@click.option("--name", "device", default="", help="What the report calls this device.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder (default: runs/bench/exp, exp2 ...)."
)
@json_option
def bench(  # noqa: PLR0917 - click passes every option by name
    models: tuple[str, ...], targets: tuple[str, ...], scenario: str,
    sizes: tuple[tuple[int, int], ...],
    batch: int | None, images: str | None, data: str | None, split: str | None, calib: str | None,
    threads: int | None, processes: int, min_duration: float | None, min_count: int | None, seed: int,
    baseline: Path | None,
    tolerance: float, max_latency: float | None, table: Path | None,
    remote: str | None, remote_python: str, remote_wheel: Path | None, ssh_config: Path | None, fleet: Path | None,
    limits: bool, device: str, output: Path | None, as_json: bool, source: str | None, server: str | None,
    connections: int, rate: float | None, token_file: Path | None, **paper: Any,
) -> None:  # fmt: skip
    """Measure artifacts on this machine.

    It reports latency with confidence intervals, stage by stage, and AP.

    MODEL is an artifact directory, weights or a published name; weights are exported once for each --target. Several
    are measured in turns, each in a process of its own, and compared pair by pair. Both --min-duration and --min-count
    must be reached; a figure with too few queries behind it is not reported. Writes report.json, report.md, report.html
    and plots; after Ctrl-C of what was completed. With --json files are written only where -o is given.

    With --source, a film or camera instead of images; with --server, load on a server that
    runs.

    With --table, the rows of the paper's tables: its networks at its sizes and in its protocol, ours beside theirs.
    Networks without --weights get random ones and are measured for speed alone.

    \b
    edgeyolo bench tiny-onnx
    edgeyolo bench yolov7-tiny.safetensors --target cpu-onnx-fp32,cpu-openvino-fp32 --data data.yaml
    edgeyolo bench tiny.safetensors --imgsz 320,416,640 --data data.yaml --max-latency 15ms --csv figures.csv
    edgeyolo bench tiny-onnx --scenario paper --baseline runs/bench/exp/report.json --tolerance 0.03
    edgeyolo bench tiny-onnx --source street.mp4
    edgeyolo bench --server http://127.0.0.1:8000 --connections 16
    edgeyolo bench --table 2 --models yolov7,yolov7x --device cpu --weights yolov7=best.pt --data coco.yaml
    edgeyolo bench --table 2 --weights-folder checkpoints --data coco
    edgeyolo bench tiny-onnx --remote pi@raspberrypi.local --remote-python venv/bin/python

    A fleet file lists `devices`, each with a `host` and, where wanted, `name`, `python`, `wheel`, `config`, `threads`
    and `targets`.
    """
    from edgeyolo.support.files import require_writable
    from edgeyolo_bench.live.show import measure_and_show
    from edgeyolo_bench.measure.jobs import Wanted, make_jobs, split_targets
    from edgeyolo_bench.measure.measure import measure
    from edgeyolo_bench.measure.physics import with_limits
    from edgeyolo_bench.measure.scenarios import choose
    from edgeyolo_bench.measure.within import with_choice
    from edgeyolo_bench.measure.workload import from_folder, generated
    from edgeyolo_bench.paper.paper_run import run_tables
    from edgeyolo_bench.remote.elsewhere import measure_elsewhere
    from edgeyolo_bench.render.deliver import deliver
    from edgeyolo_bench.render.display import listening
    from edgeyolo_bench.values.report import load_report

    live = Live(source, server, connections, rate, token_file)
    settle_live(live, models)
    asked = tables_asked(**paper)
    _refuse_idle_options(split_targets(targets), data=data, remote=remote, fleet=fleet, baseline=baseline)
    if not live.asked:
        scenario = _one_kind(models, scenario, bool(asked), remote or fleet)
    _refuse_several_sizes(sizes, tables=bool(asked))
    _require_judged(max_latency, scenario, data)
    chosen = choose(scenario, batch=batch, min_duration=min_duration, min_count=min_count, seed=seed)
    earlier = load_report(baseline) if baseline else None  # a mistake in it should not cost a measurement
    members = _members(remote, remote_python, remote_wheel, ssh_config, fleet, device)
    wanted = Wanted(
        scenario=chosen,
        workload=from_folder(images) if images else generated(),
        targets=split_targets(targets),
        size=sizes[0] if len(sizes) == 1 else None,
        sweep=sizes if len(sizes) > 1 else (),
        batch=batch or 1,
        threads=threads,
        calibration=_calibration(calib, data, split),
        processes=processes,
    )
    places = [locate_weights(model) for model in models]
    labelled = _labelled(data, split)
    if live.asked:
        measure_and_show(
            live, wanted, places, seconds=chosen.min_duration, device=device, output=output, as_json=as_json
        )
        return
    if output or not as_json:
        require_writable(output or Path("runs", "bench"))
    if table:
        require_writable(table.parent)
    with listening() as listener:
        if asked:
            run = asked.run(wanted, labelled, limits=limits, device=device, command=spoken())
            report = run_tables(run, listener)
        elif members:
            report = measure_elsewhere(
                members, places, wanted, labelled=labelled, limits=limits, command=spoken(), listener=listener
            )
        else:
            jobs, failures = make_jobs(places, wanted, listener.step, listener.remark)
            report = measure(
                jobs, failures, labelled=labelled, device=device, command=spoken(), listener=listener
            )
            if limits and not report.interrupted:
                listener.step("measuring this machine's limits")
                report = with_limits(report, jobs, threads=threads)
    if max_latency is not None:
        report = with_choice(report, max_latency)
    deliver(report, earlier, tolerance, output, as_json=as_json, asked=asked, table=table)


def _one_kind(models: tuple[str, ...], scenario: str, tables: bool, elsewhere: object) -> str:
    """The scenario, once it is settled that either models or tables are measured."""
    from edgeyolo.errors import UsageError

    example = "edgeyolo bench MODEL, or edgeyolo bench --table 2"
    if not models and not tables:
        raise UsageError(
            "expected a MODEL, or --table and the number of one of the paper's tables", hint=example
        )
    if not tables:
        return scenario
    if models:
        raise UsageError(
            "--table measures the paper's networks, not MODEL", hint="Add --weights yolov7=FILE."
        )
    if elsewhere:
        raise UsageError(
            "--table measures on this machine", hint="Give bench --remote the exported artifacts."
        )
    source = click.get_current_context().get_parameter_source("scenario")
    if source is ParameterSource.COMMANDLINE and scenario != "paper":
        raise UsageError(
            f"--table is measured by the paper's protocol, not {scenario}", hint="Leave out --scenario."
        )
    return "paper"


def _refuse_several_sizes(sizes: tuple[tuple[int, int], ...], *, tables: bool) -> None:
    from edgeyolo.errors import UsageError

    if tables and len(sizes) > 1:
        raise UsageError("--table measures at one size, or the paper's", hint="Give --imgsz one size.")


def _require_judged(max_latency: float | None, scenario: str, data: str | None) -> None:
    """Refuse --max-latency where nothing has an AP or a latency to be chosen by."""
    from edgeyolo.errors import UsageError

    if max_latency is None:
        return
    if data is None:
        raise UsageError("--max-latency chooses by AP, and --data is not given", hint="Add --data data.yaml.")
    if scenario == "offline":
        raise UsageError(
            "--max-latency: offline counts images a second, no latency", hint="Choose single-stream."
        )


def _refuse_idle_options(
    targets: tuple[str, ...],
    *,
    data: str | None,
    remote: str | None,
    fleet: Path | None,
    baseline: Path | None,
) -> None:
    refuse_lone_split(data)
    if baseline is None:
        refuse_idle(
            {"tolerance"}, "how far from --baseline, which is not given", hint="Add --baseline report.json."
        )
    if remote is None:
        refuse_idle(
            {"remote_python", "remote_wheel", "ssh_config"},
            "for the device of --remote, which is not given",
            hint="In a fleet file each device has its own python, wheel and config."
            if fleet
            else "Add --remote HOST.",
        )
    if fleet is not None:
        refuse_idle({"device"}, "devices are called as the fleet file says", hint="Write name: there.")
    if fleet is None and not any(target.endswith("-int8") for target in targets):
        refuse_idle(
            {"calib"}, "for INT8 targets of weights, and --target names none", hint="Add one to --target."
        )


def _members(  # noqa: PLR0917 - as click names them
    remote: str | None, python: str, wheel: Path | None, config: Path | None, fleet: Path | None, name: str
) -> tuple[Member, ...]:
    """The devices to measure on; none is this one."""
    from edgeyolo.errors import UsageError
    from edgeyolo_bench.remote.device import Remote
    from edgeyolo_bench.remote.fleet import Member, read_fleet

    if fleet and remote:
        raise UsageError("--remote and --fleet: one of them", hint="Add the device to the fleet file.")
    if fleet:
        return read_fleet(fleet)
    return (Member(Remote(remote, name, python, wheel, config)),) if remote else ()


def _calibration(calib: str | None, data: str | None, split: str | None) -> CalibrationSource | None:
    """Calibration images; those that AP is measured on are refused among them."""
    if calib is None:
        return None
    from edgeyolo.backend.registry import open_calibration
    from edgeyolo.datasets import load_dataset

    return open_calibration(calib, images=300, evaluation=load_dataset(data, split=split) if data else None)


def _labelled(data: str | None, split: str | None) -> Labelled | None:
    """The labelled images, read once before minutes of measuring."""
    from edgeyolo.datasets import load_dataset
    from edgeyolo_bench.measure.measure import Labelled

    if data is None:
        return None
    load_dataset(data, split=split)
    return Labelled(data, split)


def spoken() -> str:
    """The command line as it was typed, for the record."""
    return shlex.join(["edgeyolo", *sys.argv[1:]])
