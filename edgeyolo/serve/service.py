"""Served models by name: opened, reloaded, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from edgeyolo.artifact.manifest import Manifest
from edgeyolo.errors import RequestRefusedError
from edgeyolo.serve.live import Live
from edgeyolo.serve.metrics import Metrics
from edgeyolo.serve.queue import Queue
from edgeyolo.serve.settings import Limits, Model, Settings
from edgeyolo.serve.worker import Found, Job, LocalWorker, Worker
from edgeyolo.serve.worker_process import ProcessWorker
from edgeyolo.support import environment, machine


class ServedModel:
    """A model with its workers and its queue."""

    def __init__(self, model: Model, settings: Settings, metrics: Metrics) -> None:
        """Open the workers, which takes a while; nothing runs before `start`.

        Raises what `Detector` raises.
        """
        self.model, self.limits = model, settings.limits
        self._settings, self._metrics = settings, metrics
        self._workers = self._open_all()
        self.manifest: Manifest = self._workers[0].manifest
        self._queue: Queue | None = None
        self._reloading = asyncio.Lock()

    @property
    def queue(self) -> Queue:
        """The queue; it is there between start and stop."""
        if self._queue is None:
            raise RequestRefusedError(f"{self.model.name} is not started", status=503, cause="stopping")
        return self._queue

    @property
    def ready(self) -> bool:
        """True while a worker takes images."""
        return self._queue is not None and self._queue.open_lanes > 0

    def start(self) -> None:
        """Begin to take images, in the running event loop."""
        self._queue = Queue(self.model.name, self._settings, self._metrics)
        self._queue.replace(self._workers, self._open)

    async def stop(self) -> None:
        """Answer what was accepted and close the workers."""
        if self._queue is None:
            self.close()
        else:
            await self._queue.stop()
            self._queue = None

    def close(self) -> None:
        """Close the workers of a model that was not started."""
        for worker in self._workers:
            worker.close()

    async def reload(self) -> None:
        """Open the artifact again and go over to it.

        What was taken before is answered by the old one. Where the new one cannot be opened, the old one stays and the
        error is raised.
        """
        async with self._reloading:
            workers = await asyncio.to_thread(self._open_all)
            if self._queue is None:
                for worker in workers:
                    worker.close()
                return
            self.manifest = workers[0].manifest
            old = self._queue.replace(workers, self._open)
            self._metrics.reloads.labels(self.model.name).inc()
            await asyncio.gather(*old)

    async def detect(self, jobs: list[Job], seconds: float) -> list[Found]:
        """Answer images that hold places in the queue.

        Raises:
            RequestRefusedError: they are not answered within `seconds`.
            ImageError: one cannot be read.
        """
        answers = [self.queue.put(job) for job in jobs]
        try:
            return await asyncio.wait_for(asyncio.gather(*answers), seconds)
        except asyncio.TimeoutError as error:
            raise RequestRefusedError(
                f"not answered within {self.limits.timeout:g} s",
                status=504, cause="timeout", hint="Send fewer requests at once, or raise --timeout.",
            ) from error  # fmt: skip
        finally:
            for each in answers:
                each.cancel()

    def _open_all(self) -> list[Worker]:
        workers: list[Worker] = []
        try:
            for _ in range(max(self._settings.workers, 1)):
                workers.append(self._open())
        except BaseException:
            for worker in workers:
                worker.close()
            raise
        return workers

    def _open(self) -> Worker:
        workers, model = self._settings.workers, self.model
        if not workers:
            return LocalWorker(model)
        if model.options.get("threads") is None and environment.threads() is None:
            share = max((machine.cores() or 1) // workers, 1)  # instead of the whole processor for each
            model = replace(model, options={**model.options, "threads": share})
        return ProcessWorker(model, self.limits.timeout)


class Service:
    """All models of a server."""

    def __init__(self, settings: Settings) -> None:
        """Open the models; raises what `Detector` raises."""
        self.settings, self.metrics = settings, Metrics()
        self._models: dict[str, ServedModel] = {}
        self.live: Live | None = None
        try:
            for model in settings.models:
                self._models[model.name] = ServedModel(model, settings, self.metrics)
            if settings.live is not None:
                self.live = Live(settings.models[0], settings.live)
        except BaseException:
            self.close()
            raise

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """The models by name, in the order of the settings."""
        return self._models

    @property
    def limits(self) -> Limits:
        """The limits of requests."""
        return self.settings.limits

    @property
    def ready(self) -> bool:
        """True while every model takes images."""
        return all(model.ready for model in self._models.values())

    def find(self, name: str | None) -> ServedModel:
        """Find a model by its name; the first one without.

        Raises RequestRefusedError with status 404 where there is none.
        """
        found = next(iter(self._models.values())) if name is None else self._models.get(name)
        if found is None:
            raise RequestRefusedError(
                f"no model is called {name!r}",
                status=404, cause="no_such_model", hint=f"Models: {', '.join(self._models)}.",
            )  # fmt: skip
        return found

    def start(self) -> None:
        """Begin to take images, in the running event loop."""
        for model in self._models.values():
            model.start()
        if self.live is not None:
            self.live.start()

    def dismiss(self) -> None:
        """End what would never end by itself, before the server waits for its requests."""
        if self.live is not None:
            self.live.dismiss()

    async def stop(self) -> None:
        """Answer what was accepted and close everything."""
        if self.live is not None:
            await self.live.stop()
        await asyncio.gather(*(model.stop() for model in self._models.values()))

    def close(self) -> None:
        """Close the models of a service that was not started."""
        for model in self._models.values():
            model.close()

    async def reload(self) -> None:
        """Open every artifact again, one after another."""
        for model in self._models.values():
            await model.reload()
