"""What a full disk does to whoever writes, without one."""

import contextlib
import resource


@contextlib.contextmanager
def largest_file(size):
    """Lets no file of this process become larger than `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
