"""The options of work on other processes and machines, the same for each command, and the pool that they ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ...converter.errors import Setting, UsageError
from .flags import flag
from .types import Int, Listed, Real, Text

if TYPE_CHECKING:
    from ...quant.cluster.pool import WorkerPool

WORKERS = "Workers"


class WorkerOptions(Protocol):
    """The fields below, as a command's options have them."""

    workers: int
    cluster: str
    cluster_tls: tuple[str, ...]
    cluster_memory: str
    cluster_timeout: float

    def where(self, name: str) -> str: ...


def workers_flag() -> Any:
    return flag(
        "workers",
        Int(0, 1024),
        0,
        "processes that read samples and run the model on them, one thread each; 0 = threads of this process",
        group=WORKERS,
    )


def cluster_flag() -> Any:
    return flag(
        "cluster",
        Text("ADDRESS"),
        "",
        "Dask instead: tcp://HOST:PORT or tls://HOST:PORT of its scheduler, or local: workers on this machine",
        group=WORKERS,
    )


def cluster_tls_flag() -> Any:
    return flag(
        "clusterTLS",
        Listed(Text("FILE"), "CA,CERT,KEY", length=(3, 3)),
        (),
        "authority, certificate and key for a tls:// scheduler; Dask's own configuration when not given",
        group=WORKERS,
    )


def cluster_memory_flag() -> Any:
    return flag(
        "clusterMemory",
        Text("SIZE"),
        "",
        "with --cluster=local, memory of a worker (2GB), near which Dask spills to disk; its share of the machine's"
        " when not given",
        group=WORKERS,
    )


def cluster_timeout_flag() -> Any:
    return flag(
        "clusterTimeout", Real(0.1, 86400), 10.0, "seconds to wait for a scheduler and its first worker", group=WORKERS
    )


def check_workers(options: WorkerOptions) -> None:
    """Raises UsageError for options that contradict each other."""
    local = options.cluster == "local"
    if options.cluster and not local and not options.cluster.startswith(("tcp://", "tls://")):
        raise UsageError(
            f"{options.where('cluster')}: {options.cluster!r} is no address",
            hint="tcp://HOST:8786, tls://HOST:8786 or local",
        )
    if options.workers and options.cluster and not local:
        raise UsageError(
            f"{options.where('workers')}: the cluster at {options.cluster} has its own",
            hint=("one of them, or ", Setting("cluster", "local")),
        )
    if options.cluster_memory and not local:
        raise UsageError(
            f"{options.where('cluster_memory')} is for workers that are started here",
            hint=(Setting("cluster", "local"), "; others have limits of their own: dask worker --memory-limit"),
        )
    if options.cluster_tls and not options.cluster.startswith("tls://"):
        raise UsageError(
            f"{options.where('cluster_tls')} is for a tls:// scheduler", hint=Setting("cluster", "tls://HOST:8786")
        )


@contextmanager
def open_pool(options: WorkerOptions) -> Iterator[WorkerPool | None]:
    """The workers that the options ask for; None for threads of this process.

    Raises:
        UsageError: Dask is not installed, or the address is none.
        ClusterError: nobody answers, or workers of another kind.
    """
    if not options.workers and not options.cluster:
        yield None
        return
    from ...quant.cluster.pool import WorkerPool

    with WorkerPool(_backend(options)) as pool:
        yield pool


def _backend(options: WorkerOptions) -> Any:
    if not options.cluster:
        from ...quant.cluster.processes import Processes

        return Processes(options.workers)
    from ...quant.cluster.dask_cluster import DaskCluster, DaskOptions

    return DaskCluster(
        DaskOptions(
            options.cluster,
            options.workers or os.cpu_count() or 1,
            options.cluster_tls,
            options.cluster_memory,
            options.cluster_timeout,
        )
    )
