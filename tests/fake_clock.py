"""A clock that tests set."""


class FakeClock:
    """Gives the seconds that it was set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now
