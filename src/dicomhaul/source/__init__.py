"""Where instances come from: adapters of `ports.Source` and `ports.ObjectSource`.

* `dicomweb` asks a WADO-RS server, in the ways its profile describes.
* `bucket` lists and fetches the objects of public buckets; `stream` brings one large object, over several answers where
  one breaks off; `claims` holds what an answer says of an object against the listing.
* `receive` turns what an answer brings into instances: it skims each while it passes and judges it when it ends.
"""
