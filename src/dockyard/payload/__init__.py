"""What runs inside containers: the standard library only, and nothing of the pipeline around it.

A build mounts this folder, under any name, and starts it as `python /dockyard VERB ...`. The host hands it over and
never imports it. Where nothing can be mounted, a container's Python gets the package as an archive on standard input,
for `lock.py`, or the text of `probes.py` alone on its command line.
"""
