"""Where instances come from: adapters of `ports.Source`.

* `dicomweb` asks a WADO-RS server, in the ways its profile describes.
* `receive` turns the parts of an answer into instances: it skims each while it passes and judges it when it ends.
"""
