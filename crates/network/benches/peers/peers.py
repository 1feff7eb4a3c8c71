"""Tasks a second of HyperQueue, Dask and Ray on this machine, each with two cores; none of them verifies anything.

    peers.py [TASKS]      # 2,000 unless told otherwise

prints a line each: real processes (`true`) with HyperQueue and by themselves, and empty Python functions with Dask and Ray.
"""

import logging
import subprocess
import sys
import tempfile
import time


def spawned(tasks):
    """Processes, one after the other, without anybody between: the floor of one core."""
    began = time.perf_counter()
    for _ in range(tasks):
        subprocess.run(["true"], check=True)
    return tasks / (time.perf_counter() - began)


def hyperqueue(tasks):
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with tempfile.TemporaryDirectory() as folder, LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        job = Job(default_workdir=folder)
        for _ in range(tasks):
            job.program(["true"])
        began = time.perf_counter()
        client.wait_for_jobs([client.submit(job)])
        return tasks / (time.perf_counter() - began)


def nothing(number):
    return number


def dask(tasks):
    from distributed import Client

    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR) as client:
        client.gather(client.map(nothing, range(10), pure=False))
        began = time.perf_counter()
        client.gather(client.map(nothing, range(tasks), pure=False))
        return tasks / (time.perf_counter() - began)


def ray(tasks):
    import ray as cluster

    cluster.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    remote = cluster.remote(nothing)
    cluster.get([remote.remote(number) for number in range(10)])
    began = time.perf_counter()
    cluster.get([remote.remote(number) for number in range(tasks)])
    rate = tasks / (time.perf_counter() - began)
    cluster.shutdown()
    return rate


def main():
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    for name, what, run in [
        ("bare", "processes on one core", spawned),
        ("HyperQueue", "processes", hyperqueue),
        ("Dask", "functions", dask),
        ("Ray", "functions", ray),
    ]:
        print(f"{name}: {run(tasks):.0f} {what} a second, {tasks} tasks, not verified", flush=True)


if __name__ == "__main__":
    main()
