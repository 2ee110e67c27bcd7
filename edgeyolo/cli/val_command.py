"""Command `edgeyolo val`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import json_option, note, print_json, print_table, progress
from edgeyolo.cli.options import device_option, imgsz_option, opened_model, spec_option, target_option

if TYPE_CHECKING:
    from edgeyolo.evaluation.result import ValidationResult


@click.command("val")
@click.argument("model", shell_complete=complete_models)
@click.option("--data", required=True, help="COCO json, YOLO data.yaml or a Pascal VOC folder.")
@click.option("--split", help="Which part of the data (default: val, else test).")
@click.option(
    "--image-folder",
    type=click.Path(path_type=Path),
    help="Where a COCO json's images are, if not beside it.",
)
@click.option(
    "--preset",
    type=click.Choice(["coco-val"]),
    help="coco-val: the paper's protocol, on COCO val2017's images or the 1,525 of them that MLPerf takes.",
)
@click.option(
    "--ids", metavar="FILE|free", help="Only these images of COCO: ids, one a line; free: MLPerf's 1,525."
)
@imgsz_option
@target_option
@device_option
@spec_option
@click.option("--rect", is_flag=True, help="Rectangular batches, as for the paper's AP (torch targets).")
@click.option(
    "--batch", type=click.IntRange(min=1), help="Images at a time (default: the artifact's; 8 where free)."
)
@click.option("--conf", "--conf-thres", type=float, help="Least confidence (default 0.001).")
@click.option("--iou", "--iou-thres", type=float, help="IoU of non-maximum suppression (default 0.65).")
@click.option("--max-det", type=int, help="Most detections an image (default 300).")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write plots and results.json here.")
@json_option
def command(
    model: str, data: str, split: str | None, image_folder: Path | None, preset: str | None, ids: str | None,
    size: tuple[int, int] | None, target: str | None, device: str | None, spec: Path | None, rect: bool,
    batch: int | None, conf: float | None, iou: float | None, max_det: int | None, output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure AP on a labelled data set.

    It prints the twelve COCO numbers, AP by class, and where the time went.

    MODEL is an artifact directory, weights or a published name. Weights are exported first, to cpu-onnx-fp32 or, with
    --rect, to cpu-torch-fp32. Where an artifact's device is absent, the stand-in that its export was compared by runs
    it, and a line says so: AP is the device's then, times are not. An artifact exported with --nms graph is judged by
    the thresholds in its graph, and a line says so.

    \b
    edgeyolo val cells-onnx --data bccd --split test
    edgeyolo val yolov7.safetensors --data coco/instances_val2017.json --rect --json
    edgeyolo val yolov7 --preset coco-val --data coco/instances_val2017.json
    """
    from edgeyolo.artifact.contracts import GraphDetections
    from edgeyolo.datasets import describe_problems, load_dataset
    from edgeyolo.errors import UsageError
    from edgeyolo.evaluation.coco_val import only, require_coco_val
    from edgeyolo.evaluation.validate import open_to_judge, validate
    from edgeyolo.support.files import require_writable

    if preset and (conf, iou, max_det) != (None, None, None):
        raise UsageError("--preset coco-val sets --conf, --iou and --max-det", hint="Leave them out.")
    dataset = load_dataset(data, split=split, image_folder=image_folder, need_objects=False)
    if ids:
        dataset = only(dataset, ids)
    if preset:
        note(require_coco_val(dataset))
        rect = rect or not Path(model).is_dir()  # an artifact has the size it has
    if output:  # hours before it is written to
        require_writable(output)
    free = "cpu-torch-fp32" if rect and device is None else None  # takes rectangles of any size
    opened = opened_model(model, size=size, target=target or free, device=device, spec=spec)
    artifact = opened.artifact
    with open_to_judge(artifact, opened.device) as (pipeline, stand_in), progress("evaluating") as advance:
        if stand_in:
            note(f"run by {stand_in}: AP is that of {artifact.manifest.target}, times are not")
        if isinstance(fixed := artifact.manifest.output, GraphDetections):
            note(
                f"this artifact suppresses in its graph (confidence {fixed.conf:g}, IoU {fixed.iou:g}, one class a "
                "box): its AP is lower than by the paper's protocol, and not to be compared with others; export with "
                "--nms host for that"
            )
        result = validate(
            pipeline, dataset, batch=batch, rect=rect, conf=conf, iou=iou, max_det=max_det,
            artifact=artifact, progress=advance,
        )  # fmt: skip
    for line in describe_problems(result.problems):
        note(f"data: {line}")
    if output:
        result.save(output)
        note(f"written to {output}")
    if as_json:
        print_json(result.to_json() | {"stand_in": stand_in})
        return
    _print(result)


def _print(result: ValidationResult) -> None:
    for kind in ("AP", "AR"):  # twelve columns are too many for a terminal
        found = {name: value for name, value in result.metrics.items() if name.startswith(kind)}
        print_table(tuple(found), [[f"{v:.4f}" if v is not None else "-" for v in found.values()]])
    rows = [
        (
            item.name,
            item.images,
            item.instances,
            *(f"{v:.4f}" if v is not None else "-" for v in (item.ap, item.ap50)),
        )
        for item in result.per_class
    ]
    print_table(("class", "images", "objects", "AP", "AP50"), rows)
    speed = ", ".join(f"{name} {stage.median:.2f}" for name, stage in result.speed.items())
    note(f"ms an image (median): {speed}")
    note(result.protocol.sentence())
