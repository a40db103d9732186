"""Elastic Ray on Slurm: workers come one by one, are replaced when lost, and leave when there is nothing to do.

    from hpc.settings import ClusterSettings
    from hpc.workers import RayOnSlurm      # before Ray: it reads its environment when it is first imported
    import ray

    with RayOnSlurm(ClusterSettings(workers={"max": 4}, cpus=8, gpus=1), "runs/mine") as cluster:
        cluster.offer([{"cpus": 1}] * 100)  # what waits and runs; workers are submitted for it
        print(ray.get([ray.remote(work).remote(n) for n in range(100)]))

Imports nothing of the program that uses it. A worker is one Slurm job on one node; the head, in the driver's process,
computes nothing.
"""
