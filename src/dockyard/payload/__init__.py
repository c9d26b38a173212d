"""What runs inside containers: the standard library only, and nothing of the pipeline around it.

A build mounts this folder, under any name, and starts it as `python /dockyard VERB ...`. The host hands it over and
never imports it. `lock.py` and `probes.py` each run alone: their text goes to a container's Python, where nothing can
be mounted.
"""
