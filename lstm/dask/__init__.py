"""Nets over Dask's arrays and frames, and their training, with the bits of one machine (extra ``dask``).

`forward_sequence` takes Dask arrays, `forward_frame` frames whose cells are rows of different lengths; `fit`
trains by the workers of a cluster.
"""

try:
    import dask
    import dask.array
    import distributed
except ImportError as error:
    raise ImportError('lstm.dask needs Dask: pip install "lstm-native[dask]"') from error

from .arrays import forward_sequence
from .frames import forward_frame
from .training import fit

__all__ = ["fit", "forward_frame", "forward_sequence"]

del dask, distributed
