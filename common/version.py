"""The version of this project; `setup.py` reads it here."""

__version__ = "0.1.0"
