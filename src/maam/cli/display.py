"""A training as a person sees it: its plan, its progress, its epochs. Called by ``cli`` alone."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from maam.cli.console import escape, out, skipped
from maam.cli.options import spelled
from maam.core import frameworks
from maam.data.augment.resizing import whole_to_small
from maam.training.events import Choices, Download, Epoch, Event, Note, Plan, Step

_LINE = 10_000  # images that are looked at for a line of progress, where there is no bar


class Display:
    """Told of a training's events: a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        # On the console of the epoch lines, which Rich then prints above the bar.
        self.bar = Progress(*columns, console=out, transient=True, disable=not out.is_terminal)
        self.task = self.bar.add_task("", total=None, status="", visible=False)
        self.steps = self.epochs = self.small = 0
        self.times = 1.0  # as many pixels has a whole image as a smaller one
        self.closing = 0.0
        self.began = time.monotonic()  # the epoch
        self.downloading = False
        self.images = 0

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, event: Event) -> None:
        self.bar.start()  # at the first event: some processes that train together tell none
        match event:
            case Choices():
                self._choices(event)
            case Plan():
                self._plan(event)
            case Step():
                self._step(event)
            case Epoch():
                self._epoch(event)
            case Download():
                self.download(event.done, event.total)
            case Note():
                out.print(escape(spelled(event.text)))

    def _choices(self, chosen: Choices) -> None:
        self.closing = chosen.closing
        time = (
            "for the given epochs" if chosen.minutes is None else f"for {chosen.minutes:g} minutes"
        )
        out.print(f"[bold]{'plan':9}[/] {time}")
        for choice in chosen.choices:
            text = spelled(f"`{choice.option}={choice.value}`")
            out.print(f"  {escape(text):28}  {escape(spelled(choice.reason))}")
        out.print(f"[bold]{'repeat':9}[/] {escape(chosen.command)}")

    def _plan(self, plan: Plan) -> None:
        meta, config = plan.meta, plan.meta.config
        self.steps, self.epochs = plan.steps, config["epochs"]
        self.began = time.monotonic()
        channels, height, width = meta.image_shape
        self.small, self.times = plan.small, whole_to_small((height, width))
        if self.small:  # a bar that counts steps does not know that they grow
            self.bar.columns = self.bar.columns[:-1]
        images, device = meta.images, meta.device
        device += f" ({meta.device_name})" if meta.device_name else ""
        rows = {
            "data": f"{meta.data_source}: {len(meta.classes)} classes, "
            f"{images['train']:,} train, {images['val']:,} val, {images['test']:,} test, "
            f"{channels}x{height}x{width}, augmentation {plan.augmentation}",
            "model": f"{meta.model}: {meta.parameters or 0:,} parameters, "
            f"{(meta.macs or 0) / 1e6:,.1f} M multiply-accumulates an image",
            "training": f"epochs {config['epochs']}, steps an epoch {plan.steps:,}, batch "
            f"{plan.batch_size}, {config['optimizer']} {config['learning_rate']:g} "
            f"{config['schedule']}, seed {config['seed']}",
            "computes": f"{frameworks.NAMES[config['framework']]} "
            f"{meta.environment[config['framework']]} on {device}, "
            f"{config['precision']}, mode {config['mode']}",
            "run": str(plan.folder),
        }
        for name, text in rows.items():
            out.print(f"[bold]{name:9}[/] {escape(text)}")
        skipped(plan.skipped)

    def _step(self, step: Step) -> None:
        self.bar.update(
            self.task,
            visible=True,
            description=f"epoch {step.epoch + 1}/{self.epochs}",
            total=self.epochs * self.steps,
            completed=step.epoch * self.steps + step.step + 1,
            status=f"loss {step.loss:.3f}  accuracy {step.accuracy:.1%}  "
            f"{step.images_per_second:,.0f} images/s",
        )

    def _epoch(self, epoch: Epoch) -> None:
        text = (
            f"epoch {epoch.epoch:3}/{self.epochs}  "
            f"loss {epoch.train_loss:.4f}  accuracy {epoch.train_accuracy:.2%}  "
        )
        if epoch.val_accuracy is not None:
            text += f"val loss {epoch.val_loss:.4f}  val accuracy {epoch.val_accuracy:.2%}  "
        began, self.began = self.began, time.monotonic()  # validation and all
        left = self._left(epoch.epoch) * (self.began - began) + self.closing
        text += f"{epoch.images_per_second:,.0f} images/s  {_duration(left)} left"
        out.print(text)

    def _left(self, done: int) -> float:
        """How many epochs as long as the last one are left; validation counts as if it grew too."""
        small = max(self.small - done, 0)
        return small + (self.epochs - done - small) * (self.times if done <= self.small else 1)

    def download(self, done: int, total: int | None) -> None:
        """Told of a download: bytes so far, and in all."""
        self.bar.start()
        if not self.downloading and not out.is_terminal:
            out.print(f"downloading {'' if total is None else f'{total / 1e6:.0f} MB'}")
        self.downloading = True
        self.bar.update(
            self.task,
            visible=done != total,
            description="download",
            total=total,
            completed=done,
            status=f"{done / 1e6:.0f} MB",
        )

    def inspected(self, done: int, total: int) -> None:
        """Told of images that are looked at: so far, and in all."""
        self.bar.start()
        before, self.images = self.images, done
        if not out.is_terminal and done // _LINE > before // _LINE:
            out.print(f"looked at {done:,} of {total:,} images")
        self.bar.update(
            self.task,
            visible=done != total,
            description="images",
            total=total,
            completed=done,
            status="",
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
