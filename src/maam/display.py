"""A training as a person sees it: its plan, its progress, its epochs. Called by ``cli`` alone."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from maam import frameworks
from maam.console import err, escape, out
from maam.signals import check_signals


class Display:
    """Told of a training's events: a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        # On the console of the epoch lines, which Rich then prints above the bar.
        self.bar = Progress(*columns, console=out, transient=True, disable=not out.is_terminal)
        self.task = self.bar.add_task("", total=None, facts="", visible=False)
        self.plan: dict[str, Any] = {}
        self.downloading = False

    def __enter__(self) -> Display:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, kind: str, facts: dict[str, Any]) -> None:
        {
            "plan": self._plan,
            "step": self._step,
            "epoch": self._epoch,
            "download": lambda facts: self.download(**facts),
            "note": self._note,
        }[kind](facts)

    def _plan(self, facts: dict[str, Any]) -> None:
        self.plan, config, images = facts, facts["config"], facts["images"]
        height, width = facts["preprocessing"]["size"]
        channels = facts["preprocessing"]["channels"]
        rows = {
            "data": f"{facts['data_source']}: {len(facts['classes'])} classes, "
            f"{images['train']:,} train, {images['val']:,} val, {images['test']:,} test, "
            f"{channels}x{height}x{width}, augmentation {facts['augment']}",
            "model": f"{facts['model']}: {facts['parameters']:,} parameters, "
            f"{facts['macs'] / 1e6:,.1f} M multiply-accumulates an image",
            "training": f"{config['epochs']} epochs of {facts['steps']:,} steps, batch "
            f"{facts['batch_size']}, {config['optimizer']} {config['learning_rate']:g} "
            f"{config['schedule']}, seed {config['seed']}",
            "computes": f"{frameworks.NAMES[config['framework']]} "
            f"{facts['environment'][config['framework']]} on {facts['device']}, "
            f"{config['precision']}, mode {config['mode']}",
            "run": str(facts["run"]),
        }
        for name, text in rows.items():
            out.print(f"[bold]{name:9}[/] {escape(text)}")
        for name, reason in facts["skipped"]:
            err.print(f"[yellow]skipped[/]   {escape(name)}: {escape(reason)}")

    def _step(self, facts: dict[str, Any]) -> None:
        check_signals()
        steps, epochs = self.plan["steps"], self.plan["config"]["epochs"]
        self.bar.update(
            self.task,
            visible=True,
            description=f"epoch {facts['epoch'] + 1}/{epochs}",
            total=epochs * steps,
            completed=facts["epoch"] * steps + facts["step"] + 1,
            facts=f"loss {facts['loss']:.3f}  accuracy {facts['accuracy']:.1%}  "
            f"{facts['images_per_second']:,.0f} images/s",
        )

    def _epoch(self, row: dict[str, Any]) -> None:
        text = (
            f"epoch {row['epoch']:3}/{self.plan['config']['epochs']}  "
            f"loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:.2%}  "
        )
        if row["val_accuracy"] is not None:
            text += f"val loss {row['val_loss']:.4f}  val accuracy {row['val_accuracy']:.2%}  "
        left = (self.plan["config"]["epochs"] - row["epoch"]) * row["seconds"]
        text += f"{row['images_per_second']:,.0f} images/s  {_duration(left)} left"
        out.print(text)

    def download(self, done: int, total: int | None) -> None:
        """Told of a download: bytes so far, and in all."""
        if not self.downloading and not out.is_terminal:
            out.print(f"downloading {'' if total is None else f'{total / 1e6:.0f} MB'}")
        self.downloading = True
        self.bar.update(
            self.task,
            visible=done != total,
            description="download",
            total=total,
            completed=done,
            facts=f"{done / 1e6:.0f} MB",
        )

    def _note(self, facts: dict[str, Any]) -> None:
        out.print(escape(facts["text"]))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
